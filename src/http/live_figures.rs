//! What happens now, as the page shows it: gathered from memory, for whichever user looks.

use std::time::SystemTime;

use crate::registry::{FillsStatus, Registry};
use crate::telemetry::{Health, LastAnswer, Metrics, RateLimit, Savings};

/// The most fills that are gathered, of which a user sees those that it may. As many as run at once.
const MAX_FILLS: usize = 128;

/// What happens now.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveFigures {
    /// The fills of this process.
    pub(super) fills: FillsStatus,
    /// What the cache saves the upstreams.
    pub(super) savings: Savings,
    pub(super) bucket: Answering,
    pub(super) upstreams: Vec<UpstreamFigures>,
}

/// How something answers that pounce asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering {
    pub(super) last: Option<LastAnswer>,
    /// Since when no request gets a good answer.
    pub(super) failing_since: Option<SystemTime>,
    /// The last answer that was no good one.
    pub(super) last_failure: Option<LastAnswer>,
}

/// How an upstream answers.
#[derive(Clone, Debug)]
pub(super) struct UpstreamFigures {
    /// What clients call it, or where it is.
    pub(super) name: String,
    /// The first component of its repositories' names here; `None` for the default upstream.
    pub(super) component: Option<String>,
    pub(super) answering: Answering,
    pub(super) rate_limit: Option<RateLimit>,
}

impl LiveFigures {
    /// Those of now. There is no I/O.
    pub(super) fn gather(registry: &Registry, metrics: &Metrics) -> Self {
        let routes = registry.repositories.routes();
        let upstreams = routes.names().map(|names| UpstreamFigures {
            name: names.all_hosts().next().unwrap_or(names.upstream.metrics().host()).to_owned(),
            component: names.component.map(str::to_owned),
            answering: Answering::of(names.upstream.health()),
            rate_limit: names.upstream.metrics().rate_limit_left(),
        });
        Self {
            fills: registry.fills_status(MAX_FILLS),
            savings: metrics.savings(SystemTime::now()),
            bucket: Answering::of(registry.bucket().1),
            upstreams: upstreams.collect(),
        }
    }
}

impl Answering {
    fn of(health: &Health) -> Self {
        let failing_since = health.failing().map(|failing| failing.since);
        Self { last: health.last(), failing_since, last_failure: health.last_failure() }
    }
}
