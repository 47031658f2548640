//! Fills: copying a blob from the upstream to the bucket, with any number of clients watching.
//!
//! There is at most one fill of a digest in a process. It is a task of its own that no client can
//! stop:
//!
//! ```text
//! upstream ──▶ spool file ──▶ parts ──▶ bucket
//!                 │   └─▶ digest
//!                 └─▶ every client, each at its own pace
//! ```
//!
//! What is readable in the spool is announced through a watched mark; clients and the uploader follow
//! it. The bucket shows the blob only after its digest was verified, and so do the clients get its
//! last bytes only then. What goes wrong ends the fill for everybody, and the next request begins a
//! new one.

mod download;
mod flow;
mod spool;
mod upload;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tracing::Instrument;

use super::background::Background;
use super::{Options, Registry};
use crate::oci::{Digest, RepositoryName};
use crate::store::Key;
use crate::telemetry::Outcome;
use crate::upstream::{Upstream, UpstreamBlob, UpstreamError};

pub(super) use flow::{Flow, TAIL};
use spool::{Budget, Room, Spool};

/// How many fills run at once. Each has a connection to the upstream, a thread that hashes and a few
/// parts under way; more would not be faster.
const MAX_FILLS: usize = 128;

/// The fills of one process.
#[derive(Debug)]
pub(super) struct Fills {
    running: Mutex<HashMap<Digest, Arc<Fill>>>,
    budget: Arc<Budget>,
    background: Background,
}

/// One fill, as those see it who wait for it.
#[derive(Debug)]
pub(super) struct Fill {
    phase: watch::Receiver<Phase>,
    /// The repositories that get a link to the blob. One that comes too late gets its link when it
    /// asks for the blob again.
    names: Mutex<BTreeSet<RepositoryName>>,
}

/// What a request gets that needs a cold blob.
pub(super) enum Joined {
    /// A fill: its own, somebody else's (`Follow`), or none because there are too many (`Pass`).
    Fill(Arc<Fill>, Outcome),
    /// The blob is in the bucket by now, with this size.
    Stored(u64),
}

/// How far a fill is.
#[derive(Clone, Debug)]
enum Phase {
    /// The upstream's headers are not here yet.
    Asking,
    /// Bytes come.
    Flowing(Arc<Flow>),
    /// It ended before the first byte.
    Refused(Refusal),
}

/// Why a fill did not begin.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The upstream does not give the blob.
    Upstream(UpstreamError),
    /// There is no room to keep it.
    NoRoom(&'static str),
}

/// What a fill works on.
#[derive(Clone)]
struct Job {
    registry: Registry,
    upstream: Arc<Upstream>,
    name: RepositoryName,
    digest: Digest,
    /// The size that a manifest gives the blob.
    announced: Option<u64>,
}

impl Fills {
    pub(super) fn new(options: &Options, background: Background) -> Self {
        Self {
            running: Mutex::default(),
            budget: Arc::new(Budget::new(
                options.spool_directory.clone(),
                options.spool_max,
            )),
            background,
        }
    }

    pub(super) fn is_running(&self, digest: &Digest) -> bool {
        self.running().contains_key(digest)
    }

    /// The fill of a digest: the running one, or a new one for this repository. Under the lock it is
    /// known whether a fill ended a moment ago: what it stored was announced before it left the list.
    pub(super) fn join(
        &self,
        registry: &Registry,
        upstream: Arc<Upstream>,
        name: &RepositoryName,
        digest: &Digest,
        announced: Option<u64>,
    ) -> Joined {
        let mut running = self.running();
        if let Some(fill) = running.get(digest) {
            return Joined::Fill(Arc::clone(fill), Outcome::Follow);
        }
        if let Some(size) = registry.inner.cache.present(digest) {
            return Joined::Stored(size);
        }
        let (phase, watching) = watch::channel(Phase::Asking);
        let names = Mutex::new(BTreeSet::from([name.clone()]));
        let fill = Arc::new(Fill {
            phase: watching,
            names,
        });
        if running.len() >= MAX_FILLS {
            phase.send_replace(Phase::Refused(Refusal::NoRoom(
                "too many blobs are being fetched",
            )));
            return Joined::Fill(fill, Outcome::Pass);
        }
        running.insert(*digest, Arc::clone(&fill));
        drop(running);
        let job = Job {
            registry: registry.clone(),
            upstream,
            name: name.clone(),
            digest: *digest,
            announced,
        };
        // Its lines in the log belong to the request that began it.
        self.background
            .own(job.run(Arc::clone(&fill), phase).in_current_span());
        Joined::Fill(fill, Outcome::Fill)
    }

    fn ended(&self, digest: &Digest, fill: &Arc<Fill>) {
        let mut running = self.running();
        if running
            .get(digest)
            .is_some_and(|other| Arc::ptr_eq(other, fill))
        {
            running.remove(digest);
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Fill>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    /// The bytes, as soon as the upstream's headers are here.
    pub(super) async fn flow(&self) -> Result<Arc<Flow>, Refusal> {
        let mut phase = self.phase.clone();
        let reached = phase
            .wait_for(|phase| !matches!(phase, Phase::Asking))
            .await;
        match reached.as_deref() {
            Ok(Phase::Flowing(flow)) => Ok(Arc::clone(flow)),
            Ok(Phase::Refused(refusal)) => Err(refusal.clone()),
            Ok(Phase::Asking) | Err(_) => Err(Refusal::shutting_down()),
        }
    }

    /// Adds a repository that gets a link to the blob.
    pub(super) fn add(&self, name: &RepositoryName) {
        self.names().insert(name.clone());
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    async fn run(self, fill: Arc<Fill>, phase: watch::Sender<Phase>) {
        let began = Instant::now();
        self.registry.inner.metrics.fill_begins();
        let mut listed = Listed {
            job: &self,
            fill: &fill,
            stored: false,
        };
        let (blob, room, spool) = match self.begin().await {
            Ok(ready) => ready,
            Err(refusal) => {
                // First, so that nobody joins a fill that has ended. Those who wait for it tell why.
                self.ended(&fill);
                phase.send_replace(Phase::Refused(refusal));
                return;
            }
        };
        let (flow, mark) = Flow::new(Arc::clone(&spool), blob.size);
        phase.send_replace(Phase::Flowing(Arc::clone(&flow)));
        let result = self
            .copy(&fill, &flow, download::run(&self, blob, &spool, room, mark))
            .await;
        listed.stored = result.is_ok();
        let (repository, digest) = (&self.name, &self.digest);
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(bytes) => tracing::info!(%repository, %digest, bytes, seconds, "stored a blob"),
            Err(cause) => tracing::warn!(%repository, %digest, cause, seconds, "a fill failed"),
        }
    }

    /// A spool, the upstream's headers, and room for what they announce.
    async fn begin(&self) -> Result<(UpstreamBlob, Room, Arc<Spool>), Refusal> {
        let budget = &self.registry.inner.fills.budget;
        let full = || Refusal::NoRoom("the spool is full");
        let spool = Spool::create(budget).await.map_err(|error| {
            tracing::warn!(%error, "proxy.spool.directory cannot be used");
            Refusal::NoRoom("the spool cannot be written")
        })?;
        let blob = tokio::select! {
            blob = self.upstream.get_blob(&self.name, &self.digest) => blob.map_err(Refusal::Upstream)?,
            () = self.registry.inner.background.stopped() => return Err(Refusal::shutting_down()),
        };
        if let (Some(announced), Some(size)) = (self.announced, blob.size)
            && announced != size
        {
            // One manifest's mistake must not keep others from the blob; its digest decides.
            let (repository, digest) = (&self.name, &self.digest);
            tracing::warn!(%repository, %digest, size, announced, "a manifest gives a blob another size than it has");
        }
        let room = budget.take(blob.size.unwrap_or(0)).ok_or_else(full)?;
        Ok((blob, room, Arc::new(spool)))
    }

    /// Downloads and uploads at once; returns the size of the blob that is now in the bucket. An
    /// upload that fails does not stop the download: clients are following it.
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
            let inner = &self.registry.inner;
            let uploaded = upload::run(
                &inner.store,
                Key::Blob(&self.digest),
                flow,
                &inner.background,
            )
            .await;
            if uploaded.is_ok() {
                let names = fill.names().clone();
                self.registry
                    .blob_stored(names, self.digest, flow.written())
                    .await;
                // New requests find the blob in the bucket. After a failed upload they still follow
                // the download, until it ends.
                self.ended(fill);
            }
            uploaded
        };
        let (downloaded, uploaded) = tokio::join!(downloaded, uploaded);
        let size = downloaded?;
        uploaded.map(|()| size)
    }

    fn ended(&self, fill: &Arc<Fill>) {
        self.registry.inner.fills.ended(&self.digest, fill);
    }
}

impl Refusal {
    fn shutting_down() -> Self {
        Self::Upstream(UpstreamError::Unavailable(
            "this registry is shutting down".into(),
        ))
    }
}
