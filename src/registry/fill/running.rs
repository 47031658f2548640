//! One fill, as the requests see it that wait for it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::filled_blob::FilledBlob;
use super::upstream_blob::UpstreamBlob;
use crate::oci::{Error, ErrorCode, RepositoryName};
use crate::registry::failure::of_upstream;
use crate::registry::presence::blob_unknown;
use crate::telemetry::Span;
use crate::upstream::UpstreamError;

/// When a client may try again, if too many fills wait.
const BUSY: Duration = Duration::from_secs(10);

/// One fill.
#[derive(Debug)]
pub(in crate::registry) struct Fill {
    /// The blob, and the repository for which the upstream was asked.
    pub(super) blob: UpstreamBlob,
    /// The size that a manifest gives the blob, in bytes.
    pub(super) announced: Option<u64>,
    pub(super) began: Instant,
    /// A part of the request that began it, which may end before.
    pub(super) trace: Span,
    role: AtomicU8,
    phase: watch::Receiver<Phase>,
    /// The size of the blob in the bucket, or why it is not there.
    ended: watch::Receiver<Option<Result<u64, Error>>>,
    /// The repositories that get a link to the blob. One that comes too late gets its link when it asks for the blob
    /// again.
    names: Mutex<BTreeSet<RepositoryName>>,
    /// See [`hold`](Self::hold).
    is_held: AtomicBool,
}

/// What this process does for a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    /// It waits for a permit.
    Waiting,
    /// It fills for itself.
    Alone,
    /// It fills for all replicas.
    Owner,
    /// Another replica fills.
    Follower,
}

impl Role {
    const ALL: [Self; 4] = [Self::Waiting, Self::Alone, Self::Owner, Self::Follower];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Alone => "alone",
            Self::Owner => "owner",
            Self::Follower => "follower",
        }
    }
}

/// How far a fill is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// It waits for the upstream's headers.
    Asking,
    /// Bytes come.
    Filling(Arc<FilledBlob>),
    /// It ended before the first byte.
    Refused(FillRefusal),
}

/// Why a fill did not begin.
#[derive(Clone, Debug)]
pub(in crate::registry) enum FillRefusal {
    /// The upstream does not send the blob.
    Upstream(UpstreamError),
    /// There is no place for its bytes, and why.
    NoPlace(Arc<str>),
    /// The disk has no room for them, as the system says.
    Full(Arc<str>),
    /// Too many fills wait.
    Busy,
    /// It needs larger chunks than memory can have.
    TooLarge,
    /// Another process fills the blob, and it is not known to be this repository's.
    NotMember(Error),
}

/// The sending side of a [`Fill`].
pub(super) struct FillProgress {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) ended: watch::Sender<Option<Result<u64, Error>>>,
}

impl Fill {
    pub(super) fn new(blob: &UpstreamBlob, announced: Option<u64>) -> (Arc<Self>, FillProgress) {
        let (phase, phases) = watch::channel(Phase::Asking);
        let (ended, ends) = watch::channel(None);
        let fill = Arc::new(Self {
            blob: blob.clone(),
            announced,
            began: Instant::now(),
            trace: Span::part("fill"),
            role: AtomicU8::new(Role::Waiting as u8),
            phase: phases,
            ended: ends,
            names: Mutex::new(BTreeSet::from([blob.name.clone()])),
            is_held: AtomicBool::new(false),
        });
        (fill, FillProgress { phase, ended })
    }

    /// The blob and its bytes, if the upstream's headers are here.
    pub(super) fn filled_now(&self) -> Option<Arc<FilledBlob>> {
        match &*self.phase.borrow() {
            Phase::Filling(filled) => Some(Arc::clone(filled)),
            Phase::Asking | Phase::Refused(_) => None,
        }
    }

    /// What this process does for it.
    pub(super) fn role(&self) -> Role {
        let role = usize::from(self.role.load(Ordering::Relaxed));
        Role::ALL.get(role).copied().unwrap_or(Role::Waiting)
    }

    pub(super) fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Relaxed);
    }

    /// The blob and its bytes, as soon as the upstream's headers are here.
    ///
    /// # Errors
    /// The fill did not begin.
    pub(in crate::registry) async fn filled(&self) -> Result<Arc<FilledBlob>, FillRefusal> {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| !matches!(phase, Phase::Asking)).await;
        match reached.as_deref() {
            Ok(Phase::Filling(filled)) => Ok(Arc::clone(filled)),
            Ok(Phase::Refused(refusal)) => Err(refusal.clone()),
            Ok(Phase::Asking) | Err(_) => Err(FillRefusal::shutting_down()),
        }
    }

    /// The size of the blob, once it is in the bucket.
    ///
    /// # Errors
    /// It was not stored.
    pub(in crate::registry) async fn stored(&self) -> Result<u64, Error> {
        let mut ended = self.ended.clone();
        let reached = ended.wait_for(Option::is_some).await;
        match reached.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(Error::new(ErrorCode::Unavailable, "the registry is shutting down")),
        }
    }

    /// The blob is wanted without a client that waits for it.
    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Whether no request waits for the fill or reads its blob, and none is expected to. For its task; certain under the
    /// lock of the list only, because requests join under it. The list and the task know the fill, the task and the phase
    /// know the blob. A request drops the fill after it has the blob, so the count of the fill is read first.
    pub(super) fn is_unneeded(self: &Arc<Self>, filled: Option<&Arc<FilledBlob>>) -> bool {
        if Arc::strong_count(self) > 2 {
            return false;
        }
        // The counts are relaxed loads. A drop is a release, so that after this fence the task also sees what a request
        // did before it dropped the fill: it held the fill, or took the blob.
        fence(Ordering::Acquire);
        !self.is_held.load(Ordering::Relaxed) && filled.is_none_or(|filled| Arc::strong_count(filled) <= 2)
    }

    /// Whether the upstream's answer is one about this repository.
    pub(super) fn is_for(&self, name: &RepositoryName) -> bool {
        self.blob.name == *name
    }

    /// Whether the repository gets a link to the blob: the fill is its own, or its upstream said that it has the blob.
    pub(super) fn links(&self, name: &RepositoryName) -> bool {
        self.lock_names().contains(name)
    }

    /// Adds a repository that gets a link to the blob, because its upstream says that it has the blob.
    pub(in crate::registry) fn add(&self, name: &RepositoryName) {
        self.lock_names().insert(name.clone());
    }

    pub(super) fn names(&self) -> BTreeSet<RepositoryName> {
        self.lock_names().clone()
    }

    fn lock_names(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for FillRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => error.fmt(f),
            Self::NoPlace(why) | Self::Full(why) => f.write_str(why),
            Self::Busy => f.write_str("too many fills wait, or no request waits for this one any more"),
            Self::TooLarge => f.write_str("its chunks are larger than proxy.fill.memory allows"),
            Self::NotMember(error) => write!(f, "another process fills it: {}", error.message()),
        }
    }
}

impl FillRefusal {
    pub(super) fn shutting_down() -> Self {
        Self::Upstream(UpstreamError::Unavailable("this registry is shutting down".into()))
    }

    /// What the client is told.
    pub(super) fn describe(self, blob: &UpstreamBlob) -> Error {
        match self {
            Self::Upstream(error) => of_upstream(error, blob_unknown(&blob.name, &blob.digest)),
            Self::NoPlace(why) => {
                let message = "the blob cannot be copied now, try again later";
                Error::new(ErrorCode::Unavailable, message).caused_by(io::Error::other(String::from(&*why)))
            }
            Self::Full(why) => {
                let message = "the registry's storage has no room for this blob: its operator has to make room";
                Error::new(ErrorCode::Unavailable, message).caused_by(io::Error::other(String::from(&*why)))
            }
            Self::NotMember(error) => error,
            Self::Busy => {
                let message = "this registry copies too many blobs at once, try again later";
                Error::new(ErrorCode::Unavailable, message).with_retry_after(Some(BUSY))
            }
            Self::TooLarge => {
                let message = "the blob is too large for the memory of this registry (proxy.fill.memory)";
                Error::new(ErrorCode::Unavailable, message)
            }
        }
    }
}
