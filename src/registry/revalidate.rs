//! Comparing a stored tag with its upstream.
//!
//! It is a task that outlives the requests that wait for it: a client of a stored tag waits for [`CLIENT_WAIT`] at most
//! and gets the stored tag then, while the task goes on for as long as an unknown tag's client would wait, and
//! remembers the answer for the next client. There is one such task for a tag, and so many in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::Instrument;

use super::cache::{InRepository, Matter, Origin, TagState};
use super::failure::of_upstream;
use super::manifests::manifest_unknown;
use super::news::{Link, News};
use super::resolve::Resolved;
use super::{Registry, Staleness};
use crate::oci::{Digest, Error, MediaType, Outcome, Reference, RepositoryName, Tag};
use crate::upstream::{Upstream, UpstreamError};

/// How long a client of a stored tag waits for the upstream.
pub(super) const CLIENT_WAIT: Duration = Duration::from_secs(2);
/// How many tags are compared at once. Each comparison may hold a manifest of 4 MiB.
const COMPARISONS: usize = 128;
/// After the upstream failed, or was too slow, how long the stored tag is served before anything is asked again.
/// Waiting for the timeouts of a dead upstream on every pull would be an outage of our own.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);
/// How often the log tells that an upstream refuses its credential.
const REFUSAL_PAUSE: Duration = Duration::from_mins(5);

/// A comparison that is under way.
#[derive(Clone, Debug)]
pub(super) struct Revalidation {
    began: Instant,
    stored: TagState,
    answer: watch::Receiver<Option<Result<Resolved, UpstreamError>>>,
}

/// The comparisons that are under way.
#[derive(Debug)]
pub(super) struct Revalidations {
    running: Mutex<HashMap<InRepository<Tag>, Revalidation>>,
    permits: Arc<Semaphore>,
    /// When the log last told that the upstream of this label refuses its credential.
    refusals: Mutex<HashMap<String, Instant>>,
    client_wait: Duration,
}

/// What a comparison is of, and with.
struct Subject {
    registry: Registry,
    upstream: Arc<Upstream>,
    name: RepositoryName,
    tag: Tag,
    stored: TagState,
    link: Link,
    accept: Vec<MediaType>,
    began: Instant,
}

impl Revalidations {
    pub(super) fn new(client_wait: Duration) -> Self {
        Self {
            running: Mutex::default(),
            permits: Arc::new(Semaphore::new(COMPARISONS)),
            refusals: Mutex::default(),
            client_wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InRepository<Tag>, Revalidation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &RepositoryName, tag: &Tag) -> Option<Revalidation> {
        self.lock().get(&(name.clone(), tag.clone())).cloned()
    }

    /// A comparison that clients still wait for.
    pub(super) fn awaited(&self, name: &RepositoryName, tag: &Tag) -> Option<Revalidation> {
        let running = self.get(name, tag)?;
        (running.began.elapsed() < self.client_wait).then_some(running)
    }

    /// Whether it is time to tell again that an upstream refuses its credential. There are as many labels as upstreams
    /// are configured.
    fn is_refusal_news(&self, label: &str) -> bool {
        let mut told = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(label).is_some_and(|at| at.elapsed() < REFUSAL_PAUSE) {
            return false;
        }
        told.insert(label.to_owned(), Instant::now());
        true
    }
}

impl Revalidation {
    /// What the tag is stored to mean.
    pub(super) const fn digest(&self) -> Digest {
        self.stored.digest
    }
}

impl Registry {
    /// The comparison of a stored tag with its upstream: the one that is under way, or a new one. `None`: there are too
    /// many, for as long as a client should wait.
    pub(super) async fn revalidate(
        &self,
        upstream: &Arc<Upstream>,
        (name, tag): (&RepositoryName, &Tag),
        (stored, link): (TagState, Link),
        accept: &[MediaType],
    ) -> Option<Revalidation> {
        let all = &self.inner.revalidations;
        if let Some(running) = all.get(name, tag) {
            // What the bucket says by now is what its clients get.
            return Some(Revalidation { stored, ..running });
        }
        let began = Instant::now();
        let permit = Arc::clone(&all.permits).acquire_owned();
        let permit = tokio::time::timeout(all.client_wait, permit).await;
        let permit = permit.ok()?.ok()?;
        let (sender, answer) = watch::channel(None);
        let revalidation = Revalidation { began, stored: stored.clone(), answer };
        // Lookups of one tag take turns: there is none between the look above and this.
        let key = (name.clone(), tag.clone());
        all.lock().insert(key, revalidation.clone());
        let subject = Subject {
            registry: self.clone(),
            upstream: Arc::clone(upstream),
            name: name.clone(),
            tag: tag.clone(),
            stored,
            link,
            accept: accept.to_vec(),
            began,
        };
        let work = subject.compare(permit, sender).in_current_span();
        self.inner.background.unless_closing(CLIENT_WAIT, work);
        Some(revalidation)
    }

    /// What a client gets that waits for a comparison.
    pub(super) async fn compared(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        mut running: Revalidation,
    ) -> Result<Resolved, Error> {
        let wait = self.inner.revalidations.client_wait;
        let left = wait.saturating_sub(running.began.elapsed());
        let answer = running.answer.wait_for(Option::is_some);
        let answer = match tokio::time::timeout(left, answer).await {
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => None,
            Err(_) => {
                self.keep_slow(name, tag, &running.stored);
                return Ok(running.stored.stale(Staleness::Slow));
            }
        };
        let error = match answer {
            Some(Ok(resolved)) => return Ok(resolved),
            Some(Err(error)) => error,
            // The process is about to end.
            None => return Ok(running.stored.stale(Staleness::Away)),
        };
        if let Some(why) = Staleness::of(&error) {
            return Ok(running.stored.stale(why));
        }
        let reference = Reference::Tag(tag.clone());
        Err(of_upstream(error, manifest_unknown(name, &reference)))
    }

    /// Serves the stored tag for a while, unless the answer came just now.
    pub(super) fn keep_slow(&self, name: &RepositoryName, tag: &Tag, stored: &TagState) {
        let running = self.inner.revalidations.lock();
        if !running.contains_key(&(name.clone(), tag.clone())) {
            return;
        }
        let known = self.inner.cache.tag(name, tag);
        let is_told = known.is_some_and(|state| state.is_fresh() && state.stale.is_some());
        self.inner.cache.keep_upstream_tag(name, tag, stored.kept(Staleness::Slow));
        drop(running);
        if !is_told {
            let error = "it takes longer to answer than a client should wait";
            tracing::warn!(repository = %name, %tag, %error, "serving the stored tag");
        }
    }
}

impl TagState {
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh_until > Instant::now()
    }

    /// As it is remembered when the upstream did not tell.
    fn kept(&self, why: Staleness) -> Self {
        Self { fresh_until: Instant::now() + OUTAGE_PAUSE, stale: Some(why), ..self.clone() }
    }

    pub(super) const fn stale(&self, why: Staleness) -> Resolved {
        Resolved::Digest(self.digest, Outcome::Stale, Some(why))
    }
}

impl Subject {
    async fn compare(
        self,
        permit: OwnedSemaphorePermit,
        sender: watch::Sender<Option<Result<Resolved, UpstreamError>>>,
    ) {
        let Self { registry, name, tag, .. } = &self;
        let key = Some((name.clone(), tag.clone()));
        let running = Running { registry, key };
        let (known, link) = (Some(self.stored.digest), self.link.clone());
        let ask = registry.ask_upstream(&self.upstream, name, tag, (known, link), &self.accept);
        let said = ask.await;
        drop(permit);
        let is_late = self.began.elapsed() > registry.inner.revalidations.client_wait;
        let (answer, news) = if is_late {
            // No client waits any more, so that this can wait for its turn; and a push may have come meanwhile.
            let matter = Matter::Manifest(name.clone(), Reference::Tag(tag.clone()));
            let settle = Box::pin(self.settle_late(running, said));
            registry.inner.cache.alone(matter, settle).await
        } else {
            self.settle(running, said, &self.stored)
        };
        sender.send_replace(Some(answer));
        if let Some(news) = news {
            registry.write_behind(name, tag, news).await;
        }
    }

    /// [`settle`](Self::settle), unless the tag was pushed to another replica meanwhile.
    async fn settle_late(
        &self,
        running: Running<'_>,
        said: Result<News, UpstreamError>,
    ) -> (Result<Resolved, UpstreamError>, Option<News>) {
        let cache = &self.registry.inner.cache;
        match self.registry.known_tag(&self.name, &self.tag).await {
            Ok((Some(state), _)) if state.origin == Origin::Pushed => {
                let digest = state.digest;
                running.end(|| cache.keep_tag(&self.name, &self.tag, state));
                (Ok(Resolved::Digest(digest, Outcome::Hit, None)), None)
            }
            Ok((known, link)) => {
                // One that was deleted meanwhile is not written again.
                let said = said.map(|news| match link {
                    Link::Absent => news,
                    link => News { link, ..news },
                });
                self.settle(running, said, known.as_ref().unwrap_or(&self.stored))
            }
            Err(_) => self.settle(running, said, &self.stored),
        }
    }

    /// Remembers what the upstream says, or that it did not tell.
    fn settle(
        &self,
        running: Running<'_>,
        said: Result<News, UpstreamError>,
        stored: &TagState,
    ) -> (Result<Resolved, UpstreamError>, Option<News>) {
        let (registry, name, tag) = (&self.registry, &self.name, &self.tag);
        let cache = &registry.inner.cache;
        let error = match said {
            Ok(news) => {
                let (resolved, news) = running.end(|| registry.tag_is(name, tag, news));
                return (Ok(resolved), news);
            }
            Err(error) => error,
        };
        running.end(|| match Staleness::of(&error) {
            Some(why) => {
                cache.keep_upstream_tag(name, tag, stored.kept(why));
            }
            None => cache.forget_tag_of(name, tag, &stored.digest),
        });
        if matches!(error, UpstreamError::NotFound) {
            cache.keep_gone(name, tag, stored.digest);
        }
        if Staleness::of(&error).is_some() {
            tracing::warn!(repository = %name, %tag, %error, "serving the stored tag");
        }
        if let UpstreamError::Denied { credential, .. } = &error {
            let label = self.upstream.label();
            if registry.inner.revalidations.is_refusal_news(label) {
                tracing::error!(
                    upstream = label, repository = %name, credential, %error,
                    "the upstream refuses its credential: stored tags are served as they were, and nothing new can be \
                     pulled"
                );
            }
        }
        (Err(error), None)
    }
}

/// Takes a comparison out of those that are under way, also if it is given up.
struct Running<'a> {
    registry: &'a Registry,
    key: Option<InRepository<Tag>>,
}

impl Running<'_> {
    /// Ends it, and remembers its outcome, before a client that waited too long can remember that it did.
    fn end<T>(mut self, remember: impl FnOnce() -> T) -> T {
        let mut running = self.registry.inner.revalidations.lock();
        if let Some(key) = self.key.take() {
            running.remove(&key);
        }
        remember()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.registry.inner.revalidations.lock().remove(&key);
        }
    }
}
