//! The metrics of one upstream, and of what comes from none: answers by outcome, its responses, its rate limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::labels::{Answer, class_or_none};
use super::register::register;
use crate::oci::Outcome;

/// The upstream of repositories that have none.
const NONE: &str = "none";

/// How many responses there were with each outcome.
pub type OutcomeTotals = [(Outcome, u64); Outcome::ALL.len()];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Responded {
    upstream: String,
    server: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    upstream: String,
    credentials: String,
}

/// How many requests an upstream still allows, as it said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many are left.
    pub remaining: i64,
    /// Of so many in its window, if it says that.
    pub limit: Option<i64>,
}

/// The families of all upstreams.
#[derive(Clone, Debug)]
struct Families {
    answers: Family<Answer, Counter>,
    responses: Family<Responded, Histogram>,
    remaining: Family<Limited, Gauge>,
    limit: Family<Limited, Gauge>,
}

impl Families {
    fn new(registry: &mut Registry) -> Self {
        Self {
            answers: register(
                registry,
                "answers",
                "Responses with manifests and blobs, by outcome and the upstream of the repository",
            ),
            responses: register(
                registry,
                "upstream_request_duration_seconds",
                "Requests to upstreams, to the storage that they redirect to, and to their token servers, until the \
                 response's header",
            ),
            remaining: register(
                registry,
                "upstream_ratelimit_remaining",
                "Requests that the upstream still allows, as its last ratelimit-remaining said",
            ),
            limit: register(
                registry,
                "upstream_ratelimit_limit",
                "Requests that the upstream allows in its window, as its last ratelimit-limit said",
            ),
        }
    }
}

/// A counter for each outcome, created once, because a look-up takes a lock.
#[derive(Debug)]
struct Outcomes([Counter; Outcome::ALL.len()]);

impl Outcomes {
    fn new(answers: &Family<Answer, Counter>, kind: &'static str, upstream: &str) -> Self {
        let label = |outcome| Answer { kind, outcome, upstream: upstream.to_owned() };
        Self(Outcome::ALL.map(|outcome| answers.get_or_create_owned(&label(outcome))))
    }

    fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }

    fn add_to(&self, totals: &mut OutcomeTotals) {
        for (outcome, total) in totals {
            *total += self.0[*outcome as usize].get();
        }
    }
}

/// Which server responded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamServer {
    /// The registry.
    Registry,
    /// Where it redirects to.
    Storage,
    /// Its token server.
    Token,
}

impl UpstreamServer {
    /// The label, and the attribute of spans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Storage => "storage",
            Self::Token => "token",
        }
    }
}

/// The metrics of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    host: String,
    /// What its last responses said, by the label of the credentials.
    said: Mutex<BTreeMap<String, RateLimit>>,
    blobs: Outcomes,
    manifests: Outcomes,
    families: Families,
}

impl UpstreamMetrics {
    fn new(families: &Families, host: Option<&str>) -> Self {
        let host = host.unwrap_or(NONE);
        Self {
            blobs: Outcomes::new(&families.answers, "blob", host),
            manifests: Outcomes::new(&families.answers, "manifest", host),
            host: host.to_owned(),
            said: Mutex::default(),
            families: families.clone(),
        }
    }

    /// Its host, which is its label.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Counts a response with a manifest of one of its repositories.
    pub fn manifest(&self, outcome: Outcome) {
        self.manifests.count(outcome);
    }

    /// Counts a response with a blob of one of its repositories.
    pub fn blob(&self, outcome: Outcome) {
        self.blobs.count(outcome);
    }

    /// Counts a request to it that took so long until there was a response with this status, or none.
    pub fn responded(&self, server: UpstreamServer, status: Option<u16>, took: Duration) {
        let server = server.as_str();
        let label = Responded { upstream: self.host.clone(), server, status: class_or_none(status) };
        self.families.responses.get_or_create(&label).observe(took);
    }

    /// Keeps what a response said of its rate limit: `ratelimit-remaining` and `ratelimit-limit`, as in `76;w=21600`.
    /// `credentials` is the label of those that the request had.
    pub fn rate_limit(&self, credentials: &str, remaining: Option<&str>, limit: Option<&str>) {
        let requests = |text: &str| text.split(';').next()?.trim().parse::<i64>().ok();
        let (remaining, limit) = (remaining.and_then(requests), limit.and_then(requests));
        if remaining.is_none() && limit.is_none() {
            return;
        }
        let label = Limited { upstream: self.host.clone(), credentials: credentials.to_owned() };
        for (family, said) in [(&self.families.remaining, remaining), (&self.families.limit, limit)] {
            if let Some(requests) = said {
                family.get_or_create(&label).set(requests);
            }
        }
        if let Some(remaining) = remaining {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.insert(label.credentials, RateLimit { remaining, limit });
        }
    }

    /// What its last responses said of its rate limit, for all credentials together; `None` if they said nothing.
    #[must_use]
    pub fn rate_limit_left(&self) -> Option<RateLimit> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.values().copied().reduce(|all, more| RateLimit {
            remaining: all.remaining.saturating_add(more.remaining),
            limit: all.limit.zip(more.limit).map(|(all, more)| all.saturating_add(more)),
        })
    }
}

/// The metrics of all upstreams: one for each host, and those without one first.
#[derive(Clone, Debug)]
pub(super) struct UpstreamList {
    families: Families,
    list: Arc<Mutex<Vec<Arc<UpstreamMetrics>>>>,
}

impl UpstreamList {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self { families: Families::new(registry), list: Arc::default() }
    }

    /// Those of the upstream with this host, or of what has none.
    pub(super) fn of(&self, host: Option<&str>) -> Arc<UpstreamMetrics> {
        let mut list = self.lock();
        if let Some(found) = list.iter().find(|it| it.host == host.unwrap_or(NONE)) {
            return Arc::clone(found);
        }
        let made = Arc::new(UpstreamMetrics::new(&self.families, host));
        list.push(Arc::clone(&made));
        made
    }

    /// All answers with manifests, and all with blobs.
    pub(super) fn totals(&self) -> (OutcomeTotals, OutcomeTotals) {
        let mut totals = [Outcome::ALL.map(|outcome| (outcome, 0)); 2];
        let [manifests, blobs] = &mut totals;
        for upstream in &*self.lock() {
            upstream.manifests.add_to(manifests);
            upstream.blobs.add_to(blobs);
        }
        let [manifests, blobs] = totals;
        (manifests, blobs)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<UpstreamMetrics>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
