//! Fills: copying a blob from the upstream to the bucket, with any number of clients watching.
//!
//! There is at most one fill of a digest in a process. It is a task of its own ([`job`]) that no client can stop:
//!
//! ```text
//! upstream ──(connections)──▶ spool file ──▶ parts ──▶ bucket
//!                                │   └─▶ digest
//!                                └─▶ every client, each at its own pace
//! ```
//!
//! Connections share the blob by a [`plan`], and each goes on where it broke ([`source`]). What is readable in the
//! spool without a gap is announced through a watched mark; clients and the uploader follow it. The bucket shows the
//! blob only after its digest was verified, and so do the clients get its last bytes only then. What goes wrong for
//! good ends the fill for everybody, and the next request begins a new one.
//!
//! A blob for which the spool has no room is copied without one ([`unspooled`]).

mod download;
mod flow;
mod job;
mod plan;
mod recent;
mod source;
mod spool;
mod unspooled;
mod upload;
mod waiting;
mod writer;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::Instrument;

use super::background::Background;
use super::{Options, Registry};
use crate::oci::{Digest, Error, ErrorCode, Outcome, RepositoryName};
use crate::upstream::UpstreamError;

pub(super) use flow::{Flow, TAIL};
use job::Job;
use recent::Kept;
pub(super) use source::Wanted;
use spool::Budget;
pub(super) use unspooled::Copying;
use waiting::Waiting;

/// How many fills run at once. Each has a connection to the upstream, a thread that hashes and a few parts under way;
/// more would not be faster.
const MAX_FILLS: usize = 128;
/// How many connections there are beyond the first of each fill: one takes up to a MiB of memory.
const EXTRA_CONNECTIONS: usize = 24;

/// The fills of one process.
#[derive(Debug)]
pub(super) struct Fills {
    running: Mutex<Running>,
    budget: Arc<Budget>,
    background: Background,
    /// `proxy.fill.connections`
    connections: usize,
    /// `proxy.fill.concurrency`
    concurrency: usize,
    extra: Arc<Semaphore>,
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Running {
    fills: HashMap<Digest, Arc<Fill>>,
    /// Blobs that nobody has asked for yet.
    waiting: Waiting,
    /// Blobs that are copied without a spool.
    unspooled: HashSet<Digest>,
}

/// One fill, as those see it who wait for it.
#[derive(Debug)]
pub(super) struct Fill {
    /// The repository for which the upstream was asked.
    asked_for: RepositoryName,
    phase: watch::Receiver<Phase>,
    /// The size of the blob in the bucket, or why it is not there.
    ended: watch::Receiver<Option<Result<u64, Error>>>,
    /// The repositories that get a link to the blob. One that comes too late gets its link when it asks for the blob
    /// again.
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
    NoRoom(Arc<str>),
}

/// A fill's side of what others watch.
struct Announcements {
    phase: watch::Sender<Phase>,
    ended: watch::Sender<Option<Result<u64, Error>>>,
}

impl Fills {
    pub(super) fn new(options: &Options, background: Background) -> Self {
        Self {
            running: Mutex::default(),
            budget: Arc::new(Budget::new(options.spool_directory.clone(), options.spool_max)),
            background,
            connections: options.connections,
            concurrency: options.concurrency,
            extra: Arc::new(Semaphore::new(EXTRA_CONNECTIONS)),
            kept: Arc::default(),
        }
    }

    /// The fill of a blob: the running one, or a new one. Under the lock it is known whether a fill ended a moment ago:
    /// what it stored was announced before it left the list. `announced` is the size that a manifest gives the blob.
    pub(super) fn join(&self, registry: &Registry, wanted: Wanted, announced: Option<u64>) -> Joined {
        let mut running = self.running();
        let digest = &wanted.digest;
        if let Some(fill) = running.fills.get(digest) {
            return Joined::Fill(Arc::clone(fill), Outcome::Follow);
        }
        if let Some(size) = registry.inner.cache.present(digest) {
            return Joined::Stored(size);
        }
        let (fill, announcements) = Fill::new(&wanted.name);
        if running.fills.len() >= MAX_FILLS {
            let why = Refusal::NoRoom("too many blobs are being fetched".into());
            announcements.phase.send_replace(Phase::Refused(why));
            return Joined::Fill(fill, Outcome::Bypass);
        }
        self.start(&mut running, registry, wanted, announced, &fill, announcements);
        Joined::Fill(fill, Outcome::Fill)
    }

    /// Copies a blob that nobody has asked for yet, when there is a place for it.
    pub(super) fn prefetch(&self, registry: &Registry, wanted: Wanted, announced: u64) {
        let mut running = self.running();
        // Another repository's fill says nothing about this one: its own upstream is asked when a client asks.
        if running.fills.contains_key(&wanted.digest) {
            return;
        }
        running.waiting.push(wanted, announced);
        self.start_waiting(&mut running, registry);
    }

    /// Starts what waits, as far as `proxy.fill.concurrency` allows.
    fn start_waiting(&self, running: &mut Running, registry: &Registry) {
        while running.fills.len() < self.concurrency && !self.background.is_closing() {
            let Some(next) = running.waiting.pop() else {
                return;
            };
            let (wanted, announced, _span) = (next.wanted, next.announced, next.span.entered());
            let digest = &wanted.digest;
            let known = running.fills.contains_key(digest) || registry.inner.cache.present(digest).is_some();
            if !known {
                let (fill, announcements) = Fill::new(&wanted.name);
                self.start(running, registry, wanted, Some(announced), &fill, announcements);
            }
        }
    }

    fn start(
        &self,
        running: &mut Running,
        registry: &Registry,
        wanted: Wanted,
        announced: Option<u64>,
        fill: &Arc<Fill>,
        announcements: Announcements,
    ) {
        running.fills.insert(wanted.digest, Arc::clone(fill));
        let job = Job { registry: registry.clone(), wanted, announced };
        // Its lines in the log belong to the request that began it.
        let run = job.run(Arc::clone(fill), announcements);
        self.background.own(run.in_current_span());
    }

    fn ended(&self, registry: &Registry, digest: &Digest, fill: &Arc<Fill>) {
        let mut running = self.running();
        let listed = running.fills.get(digest);
        if listed.is_some_and(|other| Arc::ptr_eq(other, fill)) {
            running.fills.remove(digest);
            self.start_waiting(&mut running, registry);
        }
    }

    /// A place for one more connection of a fill, if there is one.
    fn extra_connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.extra).try_acquire_owned().ok()
    }

    /// Something could not be written into the spool: it is not used for a while.
    fn distrust_spool(&self) {
        self.budget.distrust();
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    fn new(name: &RepositoryName) -> (Arc<Self>, Announcements) {
        let (phase, watching) = watch::channel(Phase::Asking);
        let (ended, ends) = watch::channel(None);
        let fill = Arc::new(Self {
            asked_for: name.clone(),
            phase: watching,
            ended: ends,
            names: Mutex::new(BTreeSet::from([name.clone()])),
        });
        (fill, Announcements { phase, ended })
    }

    /// The bytes, as soon as the upstream's headers are here.
    pub(super) async fn flow(&self) -> Result<Arc<Flow>, Refusal> {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| !matches!(phase, Phase::Asking)).await;
        match reached.as_deref() {
            Ok(Phase::Flowing(flow)) => Ok(Arc::clone(flow)),
            Ok(Phase::Refused(refusal)) => Err(refusal.clone()),
            Ok(Phase::Asking) | Err(_) => Err(Refusal::shutting_down()),
        }
    }

    /// The size of the blob, once it is in the bucket.
    ///
    /// # Errors
    /// It was not stored.
    pub(super) async fn stored(&self) -> Result<u64, Error> {
        let mut ended = self.ended.clone();
        let reached = ended.wait_for(Option::is_some).await;
        match reached.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(Error::new(ErrorCode::Unavailable, "the registry is shutting down")),
        }
    }

    /// Whether the upstream's answer is one about this repository.
    pub(super) fn is_for(&self, name: &RepositoryName) -> bool {
        self.asked_for == *name
    }

    /// Whether the repository gets a link to the blob: the fill is its own, or its upstream said that it has the blob.
    pub(super) fn links(&self, name: &RepositoryName) -> bool {
        self.names().contains(name)
    }

    /// Adds a repository that gets a link to the blob, because its upstream says that it has the blob.
    pub(super) fn add(&self, name: &RepositoryName) {
        self.names().insert(name.clone());
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusal {
    fn shutting_down() -> Self {
        Self::Upstream(UpstreamError::Unavailable("this registry is shutting down".into()))
    }
}
