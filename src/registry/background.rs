//! Work that outlives the request that caused it: owned, bounded and stopped in one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::oci::{Error, ErrorCode};
use crate::telemetry::Metrics;

/// How many small tasks (writing a link, asking for a blob's presence) run at once. The next one's request waits for a
/// place, so that a slow bucket slows its users instead of piling up work.
const SMALL_TASKS: usize = 64;
/// How many wait for a place, whose clients may have left meanwhile; each may hold a manifest.
const WAITING: usize = 256;
/// How much content of more than [`SMALL`] bytes waits to be written, in KiB: eight of the largest manifests. Clients
/// that ask for one and leave cost no more.
const HELD_KIB: usize = 32 << 10;
/// What is smaller is not counted: [`SMALL_TASKS`] and [`WAITING`] of it are 20 MiB.
const SMALL: usize = 64 << 10;
/// How many tasks at once look for what a client may ask for next. They take no place from those that write what was
/// served.
const HINTS: usize = 32;
/// How long stopped work may take to tidy up behind itself.
const TIDY: Duration = Duration::from_secs(5);

/// The tasks of one registry, cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Background {
    tracker: TaskTracker,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    hints: Arc<Semaphore>,
    held: Arc<Semaphore>,
    /// Cancelled when the registry begins to end.
    closing: CancellationToken,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Background {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            places: Arc::new(Semaphore::new(SMALL_TASKS)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            hints: Arc::new(Semaphore::new(HINTS)),
            held: Arc::new(Semaphore::new(HELD_KIB)),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            metrics,
        }
    }

    /// Counts what ends by itself until it does.
    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let counted = self.metrics.in_background();
        self.tracker.spawn(async move {
            let ended = work.await;
            drop(counted);
            ended
        })
    }

    /// Runs a small task when there is a place for it, and returns then. The task gets its turn even if the caller does
    /// not stay to see it; unless too many wait already, as they do when the bucket hangs: it is for work that can be
    /// lost; `false` then. Whoever has a turn (`turns`) that such tasks take must not wait here.
    pub(super) async fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let (begun, begins) = oneshot::channel();
        let places = Arc::clone(&self.places);
        let Ok(waits) = Arc::clone(&self.waiting).try_acquire_owned() else {
            tracing::warn!("the bucket is too slow: something that was served is not stored");
            return false;
        };
        self.spawn(async move {
            // The semaphore is never closed.
            let place = places.acquire_owned().await.ok();
            drop(waits);
            // Nobody may be waiting any more.
            let _ = begun.send(());
            work.await;
            drop(place);
        });
        let _ = begins.await;
        true
    }

    /// [`run`](Self::run), for work that holds a manifest of so many bytes; `false` also if too many bytes wait
    /// already.
    pub(super) async fn run_holding(&self, bytes: usize, work: impl Future<Output = ()> + Send + 'static) -> bool {
        if bytes <= SMALL {
            return self.run(work).await;
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(held) = Arc::clone(&self.held).try_acquire_many_owned(kib) else {
            tracing::warn!("too much waits for the bucket: a large manifest was served and is not stored");
            return false;
        };
        let work = async move {
            work.await;
            drop(held);
        };
        self.run(work).await
    }

    /// Runs a small task if there is a place for it now, for work that is only an advantage.
    pub(super) fn try_run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.try_run_in(&self.places, work);
    }

    /// The same, for work that looks for what a client may ask for next.
    pub(super) fn hint(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.try_run_in(&self.hints, work);
    }

    fn try_run_in(&self, places: &Arc<Semaphore>, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            self.spawn(async move {
                work.await;
                drop(place);
            });
        }
    }

    /// Runs a task that has a bound of its own, and that ends soon after [`stopped`](Self::stopped).
    pub(super) fn own(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work);
    }

    /// Runs a task that has a bound of its own, and whose outcome can be lost: it has `grace` when the registry begins
    /// to end.
    pub(super) fn unless_closing(&self, grace: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.spawn(async move {
            let over = async {
                closing.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                () = work => {}
                () = over => {}
            }
        });
    }

    /// Runs work to its end, whether or not its client stays to hear of it: what is half written or half deleted would
    /// be nobody's to repair.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let ended = self.spawn(work.in_current_span()).await;
        ended.unwrap_or_else(|error| {
            let message = "the registry failed, try again later";
            Err(Error::new(ErrorCode::Unavailable, message).because(error))
        })
    }

    /// Runs a task that never ends by itself, and that can be dropped at any point.
    pub(super) fn forever(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tracker.spawn(async move {
            closing.run_until_cancelled(work).await;
        });
    }

    /// The registry has begun to end.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when it is time to give up.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Nothing is begun any more that nobody waits for.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    pub(super) async fn drain(&self, grace: Duration) {
        self.close();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(tasks = self.tracker.len(), "stopping what did not end within http.draintimeout");
        self.stop.cancel();
        if tokio::time::timeout(TIDY, self.tracker.wait()).await.is_err() {
            tracing::error!(tasks = self.tracker.len(), "some uploads may be left over in the bucket");
        }
    }
}
