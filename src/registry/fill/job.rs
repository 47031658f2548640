//! One fill from its beginning to its end.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::plan::SEGMENT;
use super::running::{Fill, FillProgress, FillRefusal, Phase};
use super::spool::{Spool, SpoolReservation};
use super::spooled_blob::SpooledBlob;
use super::upstream_blob::UpstreamBlob;
use super::{Fills, download, upload};
use crate::oci::{Error, ErrorCode};
use crate::store::{FilledFor, Key};
use crate::upstream::BlobResponse;

/// How many bytes of the spool are reserved for a blob of unknown size. The reservation grows with the blob.
const UNKNOWN: u64 = 16 << 20;

/// A fill's task.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) fills: Arc<Fills>,
    pub(super) blob: UpstreamBlob,
    /// The size that a manifest gives the blob, in bytes.
    pub(super) announced: Option<u64>,
}

/// Takes a fill off the list when it ends, however it ends.
struct ListedFill<'a> {
    job: &'a Job,
    fill: &'a Arc<Fill>,
    stored: bool,
}

impl Drop for ListedFill<'_> {
    fn drop(&mut self) {
        self.job.remove(self.fill);
        self.job.fills.metrics.fill_ends(self.stored);
    }
}

impl Job {
    pub(super) async fn run(self, fill: Arc<Fill>, progress: FillProgress) {
        let began = Instant::now();
        self.fills.metrics.fill_begins();
        let FillProgress { phase, ended } = progress;
        let mut listed = ListedFill { job: &self, fill: &fill, stored: false };
        let (repository, digest) = (&self.blob.name, &self.blob.digest);
        let (response, reservation, spool) = match self.begin().await {
            Ok(ready) => ready,
            Err(refusal) => {
                tracing::debug!(%repository, %digest, ?refusal, "a fill did not begin");
                // First, so that no request joins a fill that has ended. Requests that wait for it log why.
                self.remove(&fill);
                ended.send_replace(Some(Err(refusal.clone().describe(&self.blob))));
                phase.send_replace(Phase::Refused(refusal));
                return;
            }
        };
        let tails = Arc::clone(&self.fills.tails);
        let (spooled, watermark) = SpooledBlob::new(spool, response.size, tails);
        phase.send_replace(Phase::Filling(Arc::clone(&spooled)));
        let download = download::run((&self.fills, &self.blob), response, &spooled, reservation, watermark);
        let result = self.copy(&fill, &spooled, download).await;
        listed.stored = result.is_ok();
        let seconds = began.elapsed().as_secs_f64();
        let result = match result {
            Ok(bytes) => {
                tracing::info!(%repository, %digest, bytes, seconds, "stored a blob");
                Ok(bytes)
            }
            Err(cause) => {
                tracing::warn!(%repository, %digest, cause, seconds, "a fill failed");
                let message = format!("{digest} could not be stored, the log tells why");
                Err(Error::new(ErrorCode::Unavailable, message).caused_by(io::Error::other(cause)))
            }
        };
        drop(listed);
        ended.send_replace(Some(result));
    }

    /// A spool, the upstream's headers, and a reservation for the size that they announce.
    async fn begin(&self) -> Result<(BlobResponse, SpoolReservation, Arc<Spool>), FillRefusal> {
        let Fills { spool: budget, background, .. } = &*self.fills;
        let full = || FillRefusal::NoRoom("the spool is full (proxy.spool.maxsize)".into());
        if !budget.may_fit(self.announced.unwrap_or(0)) {
            return Err(full());
        }
        let spool = Spool::create(budget).await.map_err(|error| {
            budget.suspend();
            let why = format!("proxy.spool.directory cannot be used: {error}");
            FillRefusal::NoRoom(why.into())
        })?;
        let spool = Arc::new(spool);
        let is_large = self.announced.is_none_or(|announced| announced > SEGMENT);
        let first = is_large.then_some(SEGMENT);
        let response = tokio::select! {
            response = self.blob.begin(first, self.announced) => response.map_err(FillRefusal::Upstream)?,
            () = background.stopped() => return Err(FillRefusal::shutting_down()),
        };
        let size = response.size.or(self.announced).unwrap_or(UNKNOWN);
        let reservation = budget.reserve(size).ok_or_else(full)?;
        if !spool.has_space(size).await {
            let why = "there is no room for it in proxy.spool.directory";
            return Err(FillRefusal::NoRoom(why.into()));
        }
        Ok((response, reservation, spool))
    }

    /// Downloads and uploads at once; returns the size of the blob that is now in the bucket. An upload that fails does
    /// not stop the download, because clients follow it.
    async fn copy(
        &self,
        fill: &Arc<Fill>,
        spooled: &Arc<SpooledBlob>,
        download: impl Future<Output = Result<u64, String>>,
    ) -> Result<u64, String> {
        let downloaded = async {
            let downloaded = download.await;
            if downloaded.is_err() {
                // The next request begins anew, while this fill still aborts its upload.
                self.remove(fill);
            }
            downloaded
        };
        let uploaded = async {
            let Fills { store, links, background, .. } = &*self.fills;
            let digest = self.blob.digest;
            let key = (Key::Blob(&digest), FilledFor::new(&self.blob.name, &digest));
            let mut linked = BTreeSet::new();
            let link = async {
                linked = links.link_filled(fill.names(), digest, spooled.written()).await;
            };
            let uploaded = upload::run(store, key, spooled, link, background).await;
            if uploaded.is_ok() {
                let late = &fill.names() - &linked;
                links.blob_filled(late, digest, spooled.written()).await;
                // New requests find the blob in the bucket. After a failed upload they still follow the download, until
                // it ends.
                self.remove(fill);
            }
            uploaded
        };
        let (downloaded, uploaded) = tokio::join!(downloaded, uploaded);
        let size = downloaded?;
        uploaded.map(|()| size)
    }

    fn remove(&self, fill: &Arc<Fill>) {
        self.fills.remove(&self.blob, fill);
    }
}
