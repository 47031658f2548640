//! One fill from its beginning to its end.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::flow::Flow;
use super::plan::SEGMENT;
use super::source::Wanted;
use super::spool::{Room, Spool};
use super::{Announcements, Fill, Phase, Refusal, download, upload};
use crate::oci::{Error, ErrorCode};
use crate::registry::Registry;
use crate::registry::failure::of_upstream;
use crate::registry::members::blob_unknown;
use crate::store::{FilledFor, Key};
use crate::upstream::UpstreamBlob;

/// The room that is claimed for a blob whose size nobody tells, in bytes; the claim grows with the blob.
const UNKNOWN: u64 = 16 << 20;

/// What a fill works on.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) registry: Registry,
    pub(super) wanted: Wanted,
    /// The size that a manifest gives the blob.
    pub(super) announced: Option<u64>,
}

/// Takes a fill off the list when it ends, however it ends.
struct Listed<'a> {
    job: &'a Job,
    fill: &'a Arc<Fill>,
    stored: bool,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.job.ended(self.fill);
        self.job.registry.inner.metrics.fill_ends(self.stored);
    }
}

impl Job {
    pub(super) async fn run(self, fill: Arc<Fill>, announcements: Announcements) {
        let began = Instant::now();
        self.registry.inner.metrics.fill_begins();
        let Announcements { phase, ended } = announcements;
        let mut listed = Listed { job: &self, fill: &fill, stored: false };
        let (repository, digest) = (&self.wanted.name, &self.wanted.digest);
        let (blob, room, spool) = match self.begin().await {
            Ok(ready) => ready,
            Err(refusal) => {
                tracing::debug!(%repository, %digest, ?refusal, "a fill did not begin");
                // First, so that nobody joins a fill that has ended. Those who wait for it tell why.
                self.ended(&fill);
                ended.send_replace(Some(Err(refusal.clone().describe(&self.wanted))));
                phase.send_replace(Phase::Refused(refusal));
                return;
            }
        };
        let kept = Arc::clone(&self.registry.inner.fills.kept);
        let (flow, mark) = Flow::new(spool, blob.size, kept);
        phase.send_replace(Phase::Flowing(Arc::clone(&flow)));
        let result = self.copy(&fill, &flow, download::run(&self, blob, &flow, room, mark)).await;
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
                Err(Error::new(ErrorCode::Unavailable, message).because(io::Error::other(cause)))
            }
        };
        drop(listed);
        ended.send_replace(Some(result));
    }

    /// A spool, the upstream's headers, and room for what they announce.
    async fn begin(&self) -> Result<(UpstreamBlob, Room, Arc<Spool>), Refusal> {
        let fills = &self.registry.inner.fills;
        let full = || Refusal::NoRoom("the spool is full (proxy.spool.maxsize)".into());
        if !fills.budget.may_take(self.announced.unwrap_or(0)) {
            return Err(full());
        }
        let spool = Spool::create(&fills.budget).await.map_err(|error| {
            fills.budget.distrust();
            let why = format!("proxy.spool.directory cannot be used: {error}");
            Refusal::NoRoom(why.into())
        })?;
        let spool = Arc::new(spool);
        let is_large = self.announced.is_none_or(|announced| announced > SEGMENT);
        let first = (is_large && fills.connections > 1).then_some(SEGMENT);
        let blob = tokio::select! {
            blob = self.wanted.begin(first, self.announced) => blob.map_err(Refusal::Upstream)?,
            () = self.registry.inner.background.stopped() => return Err(Refusal::shutting_down()),
        };
        let size = blob.size.or(self.announced).unwrap_or(UNKNOWN);
        let room = fills.budget.take(size).ok_or_else(full)?;
        if !spool.has_space(size).await {
            let why = "there is no room for it in proxy.spool.directory";
            return Err(Refusal::NoRoom(why.into()));
        }
        Ok((blob, room, spool))
    }

    /// Downloads and uploads at once; returns the size of the blob that is now in the bucket. An upload that fails does
    /// not stop the download: clients are following it.
    async fn copy(
        &self,
        fill: &Arc<Fill>,
        flow: &Arc<Flow>,
        download: impl Future<Output = Result<u64, String>>,
    ) -> Result<u64, String> {
        let downloaded = async {
            let downloaded = download.await;
            if downloaded.is_err() {
                // The next request begins anew, while this fill still tidies up.
                self.ended(fill);
            }
            downloaded
        };
        let uploaded = async {
            let (inner, digest) = (&self.registry.inner, self.wanted.digest);
            let filled_for = FilledFor::new(&self.wanted.name, &digest);
            let (key, registry) = ((Key::Blob(&digest), filled_for), &self.registry);
            let mut linked = BTreeSet::new();
            let announced = async {
                let names = fill.names().clone();
                linked = registry.link_filled(names, digest, flow.written()).await;
            };
            let uploaded = upload::run(&inner.store, key, flow, announced, &inner.background).await;
            if uploaded.is_ok() {
                let late = &*fill.names() - &linked;
                registry.blob_stored(late, digest, flow.written()).await;
                // New requests find the blob in the bucket. After a failed upload they still follow the download, until
                // it ends.
                self.ended(fill);
            }
            uploaded
        };
        let (downloaded, uploaded) = tokio::join!(downloaded, uploaded);
        let size = downloaded?;
        uploaded.map(|()| size)
    }

    fn ended(&self, fill: &Arc<Fill>) {
        let (fills, digest) = (&self.registry.inner.fills, &self.wanted.digest);
        fills.ended(&self.registry, digest, fill);
    }
}

impl Refusal {
    /// What the client is told.
    pub(in crate::registry) fn describe(self, wanted: &Wanted) -> Error {
        match self {
            Self::Upstream(error) => of_upstream(error, blob_unknown(&wanted.name, &wanted.digest)),
            Self::NoRoom(why) => {
                let message = "there is no room to copy the blob, try again later";
                Error::new(ErrorCode::Unavailable, message).because(io::Error::other(String::from(&*why)))
            }
        }
    }
}
