//! Tasks that outlive the request that caused them: counted, bounded, and stopped in one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::telemetry::{InScope, Metrics};

/// How many small tasks (writing a link, storing a manifest) run at once. The request that causes the next one waits
/// for a permit, so that a slow bucket slows its users instead of piling up work.
const SMALL_TASKS: usize = 64;
/// How many tasks wait for a permit. Their clients may have left, and each may hold a manifest.
const WAITING: usize = 256;
/// How much content of more than [`SMALL`] bytes waits to be written, in KiB: eight of the largest manifests. Clients
/// that ask for one and leave cost no more.
const HELD_KIB: usize = 32 << 10;
/// Content up to this size, in bytes, is not counted: [`SMALL_TASKS`] and [`WAITING`] of it are 20 MiB.
const SMALL: usize = 64 << 10;
/// How many tasks look at once for what a client may ask for next. They have permits of their own, so that they do not
/// delay those that write.
const HINTS: usize = 32;
/// How long stopped tasks have to abort their uploads.
const CLEANUP: Duration = Duration::from_secs(5);

/// The tasks of one registry.
#[derive(Debug)]
pub(in crate::registry) struct Background {
    tracker: TaskTracker,
    permits: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    hints: Arc<Semaphore>,
    held: Arc<Semaphore>,
    /// Cancelled when the registry begins to shut down.
    closing: CancellationToken,
    /// Cancelled when the grace of the shutdown is over.
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Background {
    pub(in crate::registry) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            tracker: TaskTracker::new(),
            permits: Arc::new(Semaphore::new(SMALL_TASKS)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            hints: Arc::new(Semaphore::new(HINTS)),
            held: Arc::new(Semaphore::new(HELD_KIB)),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            metrics,
        })
    }

    /// Where work in the background is counted.
    pub(in crate::registry) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn spawn_counted<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let counted = self.metrics.in_background();
        let task = async move {
            let ended = work.await;
            drop(counted);
            ended
        };
        self.tracker.spawn(task.in_current_trace())
    }

    /// Starts a small task when there is a permit, and returns then. The task keeps its place in the queue when the
    /// caller leaves. Returns `false`, and drops the work, when too many tasks wait, as they do when the bucket hangs:
    /// it is for work that can be lost. Never call this while holding a key's lock that such tasks take: deadlock.
    pub(in crate::registry) async fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let (begun, begins) = oneshot::channel();
        let permits = Arc::clone(&self.permits);
        let Ok(waits) = Arc::clone(&self.waiting).try_acquire_owned() else {
            tracing::warn!("background: the bucket is too slow, content was served and is not stored");
            return false;
        };
        self.spawn_counted(async move {
            // The semaphore is never closed.
            let permit = permits.acquire_owned().await.ok();
            drop(waits);
            // The caller may have left.
            let _ = begun.send(());
            work.await;
            drop(permit);
        });
        let _ = begins.await;
        true
    }

    /// [`run`](Self::run), for work that holds a manifest of so many bytes. Returns `false` also when too many bytes
    /// wait.
    pub(in crate::registry) async fn run_holding(
        &self,
        bytes: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        if bytes <= SMALL {
            return self.run(work).await;
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(held) = Arc::clone(&self.held).try_acquire_many_owned(kib) else {
            tracing::warn!("background: too many bytes wait for the bucket, a large manifest is not stored");
            return false;
        };
        self.run(holding(held, work)).await
    }

    /// Runs a small task if there is a permit now; drops the work otherwise.
    pub(in crate::registry) fn try_run(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            self.spawn_counted(holding(permit, work));
        }
    }

    /// Runs a small task if there is a permit now; otherwise the caller waits for the work itself, because it must not
    /// be lost.
    pub(in crate::registry) async fn run_or_wait(&self, work: impl Future<Output = ()> + Send + 'static) {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => drop(self.spawn_counted(holding(permit, work))),
            Err(_) => work.await,
        }
    }

    /// [`try_run`](Self::try_run), for work that looks for what a client may ask for next.
    pub(in crate::registry) fn hint(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(permit) = Arc::clone(&self.hints).try_acquire_owned() {
            self.spawn_counted(holding(permit, work));
        }
    }

    /// Runs a task that its caller bounds, and that ends soon after [`stopped`](Self::stopped).
    pub(in crate::registry) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_counted(work);
    }

    /// Runs a task that its caller bounds, and whose outcome can be lost: it has `grace` when the registry begins to
    /// shut down.
    pub(in crate::registry) fn spawn_unless_closing(
        &self,
        grace: Duration,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let closing = self.closing.clone();
        self.spawn_counted(async move {
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

    /// Runs work to its end, whether or not its client waits for it: nothing would repair what is half written or half
    /// deleted.
    pub(in crate::registry) async fn complete<T: Send + 'static, E: From<JoinError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.spawn_counted(work.in_current_span()).await?
    }

    /// Runs a task that never ends by itself, and that can be dropped at any await.
    pub(in crate::registry) fn forever(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tracker.spawn(async move {
            closing.run_until_cancelled(work).await;
        });
    }

    /// Runs a task that sees by itself that the registry begins to shut down, and ends soon after that.
    pub(in crate::registry) fn accompany(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    /// Cancelled when the registry begins to shut down.
    pub(in crate::registry) fn closing_token(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Whether the registry has begun to shut down.
    pub(in crate::registry) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Whether the grace of the shutdown is over.
    pub(in crate::registry) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the registry begins to shut down.
    pub(in crate::registry) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Resolves when the grace of the shutdown is over.
    pub(in crate::registry) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// From now on, nothing begins for which no client waits.
    pub(in crate::registry) fn close(&self) {
        self.closing.cancel();
    }

    /// Waits for at most `grace` until all tasks have ended, then stops the others.
    pub(in crate::registry) async fn drain(&self, grace: Duration) {
        self.close();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(tasks = self.tracker.len(), "stopping what did not end within http.draintimeout");
        self.stop.cancel();
        if tokio::time::timeout(CLEANUP, self.tracker.wait()).await.is_err() {
            tracing::error!(tasks = self.tracker.len(), "some uploads may be left over in the bucket");
        }
    }
}

async fn holding(permit: OwnedSemaphorePermit, work: impl Future<Output = ()>) {
    work.await;
    drop(permit);
}
