//! Sweeping abandoned uploads (`storage.maintenance.uploadpurging`): distribution's, too, and the multipart uploads,
//! leases and chunks of fills whose process was killed.
//!
//! Every replica sweeps; another one may delete the same uploads meanwhile. Nothing younger than the age is touched, so
//! an upload that is under way is safe for that long, as far as the clocks of bucket and replica agree. Leases and
//! chunks have ages of their own, by the bucket's clock (`fill/sweep.rs`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Uploads;
use crate::config::UploadPurging;
use crate::oci::RepositoryName;
use crate::registry::fill::SweptFills;
use crate::registry::repository_walk::repositories_with;
use crate::registry::runtime::random_share;
use crate::store::{Key, StoreError};

/// How long a replica waits before its first sweep at most, so that replicas that start together do not sweep together.
const FIRST: Duration = Duration::from_hours(1);

impl Uploads {
    /// Sweeps now and then, until the registry stops.
    pub fn sweep_periodically(self: &Arc<Self>, purging: UploadPurging) {
        if !purging.enabled || purging.interval.is_zero() {
            return;
        }
        let uploads = Arc::clone(self);
        self.background.forever(async move {
            let first = purging.interval.min(FIRST);
            tokio::time::sleep(first.mul_f64(random_share())).await;
            loop {
                let fills = uploads.sweep_fills(purging.dryrun).await;
                let SweptFills { leases, strays } = fills.unwrap_or_default();
                let metrics = uploads.background.metrics();
                match uploads.sweep(&purging).await {
                    Ok((multipart, scratch)) => {
                        let dry_run = purging.dryrun;
                        let swept = [multipart, scratch, leases, strays];
                        metrics.swept(fills.map(|_| if dry_run { [0; 4] } else { swept }));
                        tracing::info!(
                            multipart,
                            scratch,
                            leases,
                            strays,
                            dry_run,
                            "swept abandoned uploads and fills"
                        );
                    }
                    Err(error) => {
                        metrics.swept(None);
                        tracing::warn!(%error, "abandoned uploads were not swept");
                    }
                }
                tokio::time::sleep(purging.interval).await;
            }
        });
    }

    /// Returns how many multipart uploads and how many directories of uploads were given up.
    async fn sweep(&self, purging: &UploadPurging) -> Result<(usize, usize), StoreError> {
        let store = &self.store;
        let limit = SystemTime::now().checked_sub(purging.age).unwrap_or(SystemTime::UNIX_EPOCH);
        let aborted = store.abort_uploads_before(Key::Root, limit, purging.dryrun);
        let multipart = aborted.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "some abandoned multipart uploads were not swept");
            0
        });
        let mut directories = 0;
        for name in repositories_with(store, "_uploads").await? {
            directories += self.sweep_repository(&name, limit, purging.dryrun).await?;
        }
        Ok((multipart, directories))
    }

    async fn sweep_fills(&self, dry_run: bool) -> Option<SweptFills> {
        let swept = self.fills.sweep(dry_run).await;
        let warn = |error: StoreError| tracing::warn!(%error, "what fills left in pounce/fills/ was not swept, or not all of it");
        swept.map_err(warn).ok()
    }

    async fn sweep_repository(
        &self,
        name: &RepositoryName,
        limit: SystemTime,
        dry_run: bool,
    ) -> Result<usize, StoreError> {
        let store = &self.store;
        let mut swept = 0;
        let uploads =
            store.children(Key::Uploads(name), usize::MAX).await?.into_iter().filter_map(|id| id.parse().ok());
        for id in uploads {
            let directory = Key::Upload(name, &id);
            let (objects, _) = store.objects(directory, None, 1000).await?;
            // distribution goes on writing into an old upload, so its youngest object counts.
            let youngest = objects.iter().filter_map(|object| object.modified).max();
            if youngest.is_some_and(|youngest| youngest < limit) {
                swept += 1;
                if !dry_run {
                    store.delete_directory(directory).await?;
                }
            }
        }
        Ok(swept)
    }
}
