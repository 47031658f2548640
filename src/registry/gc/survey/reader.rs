//! The requests of a survey: counted, at a bounded rate, a bounded number at once, and repeated for a while where the
//! bucket does not answer.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::store::{Key, Listed, Object, Store, StoreError};

/// How many requests are under way at once.
pub(super) const PARALLEL: usize = 32;
/// How many keys a LIST names: S3's limit.
const PAGE: i32 = 1000;
/// How often a request is made anew, besides the SDK's own attempts, so that a bucket that is away for a minute does
/// not cost the whole survey.
const RETRIES: usize = 6;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Tag,
    Origin,
    Manifest,
    /// The memory of manifests.
    Known,
    /// A link of a manifest that the list lacks.
    Missing,
}

/// How many requests a survey made, by what they were for. Those that the SDK repeated count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::registry) struct Requests {
    /// LISTs.
    pub(in crate::registry) lists: u64,
    /// GETs of tags' links.
    pub(in crate::registry) tags: u64,
    /// GETs of manifests' links, for where they came from.
    pub(in crate::registry) origins: u64,
    /// GETs of manifests.
    pub(in crate::registry) manifests: u64,
    /// GETs of what earlier surveys remember of manifests, and of links that the list lacks.
    pub(in crate::registry) known: u64,
    /// PUTs of that.
    pub(in crate::registry) writes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    lists: AtomicU64,
    tags: AtomicU64,
    origins: AtomicU64,
    manifests: AtomicU64,
    known: AtomicU64,
    writes: AtomicU64,
}

/// Reads the bucket.
#[derive(Debug)]
pub(super) struct Reader {
    store: Store,
    rate: DefaultDirectRateLimiter,
    permits: Semaphore,
    counts: Counts,
}

impl Reader {
    pub(super) fn new(store: &Store, rate: NonZeroU32) -> Self {
        Self {
            store: store.clone(),
            rate: RateLimiter::direct(Quota::per_second(rate)),
            permits: Semaphore::new(PARALLEL),
            counts: Counts::default(),
        }
    }

    pub(super) fn requests(&self) -> Requests {
        let Counts { lists, tags, origins, manifests, known, writes } = &self.counts;
        let [lists, tags, origins, manifests, known, writes] =
            [lists, tags, origins, manifests, known, writes].map(|count| count.load(Ordering::Relaxed));
        Requests { lists, tags, origins, manifests, known, writes }
    }

    /// Reads an object of at most `limit` bytes. Links are read at the leader, because they change; content is not.
    pub(super) async fn get(&self, purpose: Purpose, key: Key<'_>, limit: u64) -> Result<Option<Object>, StoreError> {
        let (store, count) = match purpose {
            Purpose::Tag => (self.store.leader(), &self.counts.tags),
            Purpose::Origin => (self.store.leader(), &self.counts.origins),
            Purpose::Manifest => (&self.store, &self.counts.manifests),
            Purpose::Known | Purpose::Missing => (self.store.leader(), &self.counts.known),
        };
        self.ask(count, || store.get_up_to(key, limit)).await
    }

    /// The objects below a directory key after `after`, at the leader, and whether there are more.
    pub(super) async fn list(&self, key: Key<'_>, after: Option<&str>) -> Result<(Vec<Listed>, bool), StoreError> {
        self.ask(&self.counts.lists, || self.store.objects(key, after, PAGE)).await
    }

    /// Counts a write, and waits until it may be sent.
    pub(super) async fn writes(&self) -> &Store {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.rate.until_ready().await;
        &self.store
    }

    async fn ask<T, F>(&self, count: &AtomicU64, send: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let attempt = || async {
            // Never closed.
            let _permit = self.permits.acquire().await.ok();
            self.rate.until_ready().await;
            count.fetch_add(1, Ordering::Relaxed);
            // Boxed: the SDK's futures are large.
            Box::pin(send()).await
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(RETRIES)
            .with_jitter();
        let attempt = attempt.retry(backoff);
        attempt.when(|error| matches!(error, StoreError::Unavailable { .. })).await
    }
}
