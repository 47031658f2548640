//! Comparing a stored tag with its upstream.
//!
//! A task does it that outlives the requests that wait for it: a client of a stored tag waits for [`CLIENT_WAIT`] at
//! most and gets the stored tag then, while the task goes on for as long as an unknown tag's client would wait, and
//! remembers the answer for the next client. A tag has one such task at a time, and all tags have [`COMPARISONS`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::Instrument;

use super::lookup::{LinkVersion, Lookup, TagUpdate};
use super::resolved::Resolved;
use super::writeback::Writeback;
use crate::log_limit::LogLimit;
use crate::oci::{Digest, Error, MediaType, Reference, RepositoryName, Tag};
use crate::registry::cache::{Cache, InRepository, TagState};
use crate::registry::failure::of_upstream;
use crate::registry::flights::{FlightKey, Flights};
use crate::registry::options::CLIENT_WAIT;
use crate::registry::presence::manifest_unknown;
use crate::registry::runtime::Background;
use crate::registry::staleness::{Staleness, log_stale};
use crate::upstream::{Upstream, UpstreamError};

/// How many tags are compared at once. Each comparison may hold a manifest of 4 MiB.
const COMPARISONS: usize = 128;
/// After the upstream failed, or was too slow, how long the stored tag is served before the upstream is asked again.
/// Waiting for the timeouts of a dead upstream on every pull would be an outage of our own.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);
/// How often the log says that an upstream refuses its credential, and of how many upstreams.
const REFUSAL_PAUSE: Duration = Duration::from_mins(5);
const MOST_REFUSALS: usize = 64;

/// A comparison that is under way.
#[derive(Clone, Debug)]
pub(super) struct Revalidation {
    began: Instant,
    upstream: Arc<Upstream>,
    stored: TagState,
    answer: watch::Receiver<Option<Answer>>,
}

type Answer = Result<Resolved, UpstreamError>;
type Running = HashMap<InRepository<Tag>, Revalidation>;

/// The comparisons that are under way.
#[derive(Debug)]
pub(super) struct Revalidations {
    cache: Arc<Cache>,
    flights: Arc<Flights>,
    lookup: Arc<Lookup>,
    writeback: Arc<Writeback>,
    background: Arc<Background>,
    running: Mutex<Running>,
    permits: Arc<Semaphore>,
    /// The upstreams, by their labels, that refuse their credentials.
    refusals: LogLimit<String>,
    client_wait: Duration,
}

/// What a task compares.
struct Comparison {
    revalidations: Arc<Revalidations>,
    upstream: Arc<Upstream>,
    name: RepositoryName,
    tag: Tag,
    stored: TagState,
    link: LinkVersion,
    accept: Vec<MediaType>,
    began: Instant,
}

/// Takes a comparison out of those that are under way, also if it is dropped.
struct RunningComparison<'a> {
    revalidations: &'a Revalidations,
    key: Option<InRepository<Tag>>,
}

impl Revalidation {
    /// The stored digest.
    pub(super) const fn digest(&self) -> Digest {
        self.stored.digest
    }
}

impl Revalidations {
    pub(super) fn new(
        cache: &Arc<Cache>,
        flights: &Arc<Flights>,
        lookup: &Arc<Lookup>,
        writeback: &Arc<Writeback>,
        background: &Arc<Background>,
        client_wait: Duration,
    ) -> Self {
        Self {
            cache: Arc::clone(cache),
            flights: Arc::clone(flights),
            lookup: Arc::clone(lookup),
            writeback: Arc::clone(writeback),
            background: Arc::clone(background),
            running: Mutex::default(),
            permits: Arc::new(Semaphore::new(COMPARISONS)),
            refusals: LogLimit::new(REFUSAL_PAUSE, MOST_REFUSALS),
            client_wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &RepositoryName, tag: &Tag) -> Option<Revalidation> {
        self.lock().get(&(name.clone(), tag.clone())).cloned()
    }

    /// The comparison of a tag, if clients still wait for it.
    pub(super) fn awaited(&self, name: &RepositoryName, tag: &Tag) -> Option<Revalidation> {
        self.get(name, tag).filter(|running| running.began.elapsed() < self.client_wait)
    }

    /// The comparison of a stored tag with its upstream: the one that is under way, or a new one. `None` if there were
    /// too many for as long as a client should wait.
    pub(super) async fn begin(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        (name, tag): (&RepositoryName, &Tag),
        stored: TagState,
        link: LinkVersion,
        accept: &[MediaType],
    ) -> Option<Revalidation> {
        if let Some(running) = self.get(name, tag) {
            // Its clients get what the bucket says by now.
            return Some(Revalidation { stored, ..running });
        }
        let began = Instant::now();
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(self.client_wait, permit).await.ok()?.ok()?;
        let (sender, answer) = watch::channel(None);
        let revalidation = Revalidation { began, upstream: Arc::clone(upstream), stored: stored.clone(), answer };
        // The caller holds the tag's lock, so no other lookup came between the look above and this.
        self.lock().insert((name.clone(), tag.clone()), revalidation.clone());
        let comparison = Comparison {
            revalidations: Arc::clone(self),
            upstream: Arc::clone(upstream),
            name: name.clone(),
            tag: tag.clone(),
            stored,
            link,
            accept: accept.to_vec(),
            began,
        };
        self.background.spawn_unless_closing(CLIENT_WAIT, comparison.run(permit, sender).in_current_span());
        Some(revalidation)
    }

    /// What a client gets that waits for a comparison.
    pub(super) async fn wait(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        running: Revalidation,
    ) -> Result<Resolved, Error> {
        let mut answer = running.answer.clone();
        let left = self.client_wait.saturating_sub(running.began.elapsed());
        let answer = answer.wait_for(Option::is_some);
        let answer = match tokio::time::timeout(left, answer).await {
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => None,
            Err(_) => {
                self.keep_slow(name, tag, &running);
                return Ok(Resolved::stale(&running.stored, Staleness::Slow));
            }
        };
        let error = match answer {
            Some(Ok(resolved)) => return Ok(resolved),
            Some(Err(error)) => error,
            // The process is about to end.
            None => return Ok(Resolved::stale(&running.stored, Staleness::Away)),
        };
        match Staleness::of(&error) {
            Some(why) => Ok(Resolved::stale(&running.stored, why)),
            None => Err(of_upstream(error, manifest_unknown(name, &Reference::Tag(tag.clone())))),
        }
    }

    /// Serves the stored tag for a while, unless the answer came just now.
    fn keep_slow(&self, name: &RepositoryName, tag: &Tag, compared: &Revalidation) {
        let running = self.lock();
        if !running.contains_key(&(name.clone(), tag.clone())) {
            return;
        }
        let remembered = self.cache.tags.get(name, tag);
        let is_logged = remembered.is_some_and(|state| state.is_fresh() && state.stale.is_some());
        self.cache.tags.keep_upstream(name, tag, unconfirmed(&compared.stored, Staleness::Slow));
        drop(running);
        if !is_logged {
            let cause = "it takes longer to answer than a client should wait";
            log_stale(&compared.upstream, (name, tag), &cause, "serving the stored tag");
        }
    }

    /// Logs that an upstream refuses its credential, now and then.
    fn log_refusal(&self, label: &str, repository: &RepositoryName, error: &UpstreamError) {
        let UpstreamError::Denied { credential, .. } = error else {
            return;
        };
        if !self.refusals.is_due(label.to_owned()) {
            return;
        }
        tracing::error!(
            upstream = label, %repository, credential, %error,
            "the upstream refuses its credential: stored tags are served as they were, and nothing new can be pulled"
        );
    }
}

/// A stored tag as it is remembered when the upstream did not confirm it.
fn unconfirmed(stored: &TagState, why: Staleness) -> TagState {
    TagState { fresh_until: Instant::now() + OUTAGE_PAUSE, stale: Some(why), ..stored.clone() }
}

impl Comparison {
    async fn run(self, permit: OwnedSemaphorePermit, sender: watch::Sender<Option<Answer>>) {
        let Self { revalidations, name, tag, .. } = &self;
        let running = RunningComparison { revalidations, key: Some((name.clone(), tag.clone())) };
        let (stored, link) = (Some(self.stored.digest), self.link.clone());
        let asked = revalidations.lookup.at_upstream(&self.upstream, (name, tag), stored, link, &self.accept).await;
        drop(permit);
        let is_late = self.began.elapsed() > revalidations.client_wait;
        let (answer, update) = if is_late {
            // No client waits any more, so that this can wait for the tag's lock; and a push may have come meanwhile.
            let key = FlightKey::Manifest(name.clone(), Reference::Tag(tag.clone()));
            revalidations.flights.exclusive(key, Box::pin(self.finish_late(running, asked))).await
        } else {
            self.finish(running, asked, &self.stored)
        };
        sender.send_replace(Some(answer));
        if let Some(update) = update {
            revalidations.writeback.write(name, tag, update).await;
        }
    }

    /// [`finish`](Self::finish), unless the tag was pushed to another replica meanwhile.
    async fn finish_late(
        &self,
        running: RunningComparison<'_>,
        asked: Result<TagUpdate, UpstreamError>,
    ) -> (Answer, Option<TagUpdate>) {
        let lookup = &self.revalidations.lookup;
        match lookup.in_bucket(&self.name, &self.tag).await {
            Ok((Some(state), _)) if state.is_pushed() => {
                let digest = state.digest;
                running.end(|| lookup.remember_stored(&self.name, &self.tag, state));
                (Ok(Resolved::hit(digest)), None)
            }
            Ok((stored, link)) => {
                // A tag that was deleted meanwhile is not written again.
                let asked = asked.map(|update| match link {
                    LinkVersion::Absent => update,
                    link => TagUpdate { link, ..update },
                });
                self.finish(running, asked, stored.as_ref().unwrap_or(&self.stored))
            }
            Err(_) => self.finish(running, asked, &self.stored),
        }
    }

    /// Remembers the upstream's answer, or that it did not answer.
    fn finish(
        &self,
        running: RunningComparison<'_>,
        asked: Result<TagUpdate, UpstreamError>,
        stored: &TagState,
    ) -> (Answer, Option<TagUpdate>) {
        let (revalidations, name, tag) = (&self.revalidations, &self.name, &self.tag);
        let cache = &revalidations.cache;
        let error = match asked {
            Ok(update) => {
                let (resolved, update) = running.end(|| revalidations.lookup.remember(name, tag, update));
                return (Ok(resolved), update);
            }
            Err(error) => error,
        };
        let staleness = Staleness::of(&error);
        running.end(|| match staleness {
            Some(why) => {
                cache.tags.keep_upstream(name, tag, unconfirmed(stored, why));
            }
            None => cache.tags.forget_digest(name, tag, &stored.digest),
        });
        if matches!(error, UpstreamError::NotFound) {
            cache.absent.keep_tag(name, tag, stored.digest);
        }
        if staleness.is_some() {
            log_stale(&self.upstream, (name, tag), &error, "serving the stored tag");
        }
        revalidations.log_refusal(self.upstream.label(), name, &error);
        (Err(error), None)
    }
}

impl RunningComparison<'_> {
    /// Ends a comparison and remembers its outcome under one lock, so that `keep_slow` of a client that waited too long
    /// does not overwrite it.
    fn end<T>(mut self, remember: impl FnOnce() -> T) -> T {
        let mut running = self.revalidations.lock();
        if let Some(key) = self.key.take() {
            running.remove(&key);
        }
        remember()
    }
}

impl Drop for RunningComparison<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.revalidations.lock().remove(&key);
        }
    }
}
