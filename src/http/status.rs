//! `/status` of the operator's listener: what pounce is doing, as JSON. docs/operating.md has the names, which stay.
//!
//! Counts come from the metrics. There is no secret in it: addresses of upstreams have no credentials.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::AppState;
use crate::registry::{FillStatus, FillsStatus};
use crate::store::Location;
use crate::telemetry::{Health, OutcomeTotals};

/// The most fills that are listed. The others are counted.
const MAX_FILLS: usize = 100;

/// The status of a process.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// RFC 3339
    pub(crate) started: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) fills: Fills,
    pub(crate) blobs: Answers,
    pub(crate) manifests: Answers,
    pub(crate) bytes: Bytes,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) bucket: Storage,
    pub(crate) caches: BTreeMap<String, CacheSize>,
    pub(crate) connections: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Fills {
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) stored: u64,
    pub(crate) followed: u64,
    pub(crate) left: u64,
    pub(crate) failed: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_limit_bytes: u64,
    /// The oldest of those that run.
    pub(crate) list: Vec<Fill>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Fill {
    pub(crate) repository: String,
    pub(crate) digest: String,
    pub(crate) size: Option<u64>,
    pub(crate) received: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) readers: u64,
    pub(crate) connections: u64,
    pub(crate) retries: u64,
    pub(crate) upstream: String,
    /// `alone`, `owner` or `follower`
    pub(crate) shared: String,
    pub(crate) seconds: u64,
}

/// Answers of one kind.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Answers {
    pub(crate) answered: u64,
    /// Those from memory or the bucket.
    pub(crate) hits: u64,
    /// `hits` of `answered`; none without an answer.
    pub(crate) hit_ratio: Option<f64>,
    pub(crate) outcomes: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Bytes {
    pub(crate) redirected: u64,
    pub(crate) streamed: u64,
    pub(crate) fetched: u64,
    pub(crate) saved: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Upstream {
    pub(crate) hosts: Vec<String>,
    pub(crate) address: String,
    #[serde(flatten)]
    pub(crate) health: Answering,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Storage {
    /// Where it is a folder.
    pub(crate) folder: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) endpoint: Option<String>,
    #[serde(flatten)]
    pub(crate) health: Answering,
}

/// How something answers that pounce asks.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Answering {
    pub(crate) last_answer: Option<LastAnswer>,
    pub(crate) failing: Option<Failing>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct LastAnswer {
    /// RFC 3339
    pub(crate) at: String,
    /// None where no answer came.
    pub(crate) status: Option<u16>,
    pub(crate) milliseconds: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Failing {
    /// RFC 3339
    pub(crate) since: String,
    pub(crate) seconds: u64,
    pub(crate) cause: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct CacheSize {
    pub(crate) entries: u64,
    /// Where the cache is bounded in bytes.
    pub(crate) bytes: Option<u64>,
}

/// When the process began to serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(SystemTime, Instant);

impl Began {
    pub(super) fn now() -> Self {
        Self(SystemTime::now(), Instant::now())
    }
}

impl Status {
    pub(super) fn of(app: &AppState, began: Began) -> Self {
        let (registry, totals) = (&app.registry, app.metrics.totals());
        let FillsStatus { running, waiting, fills } = registry.fills_status(MAX_FILLS);
        let routes = registry.repositories.routes();
        let upstreams = routes.names().map(|names| Upstream {
            hosts: names.all_hosts().map(str::to_owned).collect(),
            address: names.upstream.label().to_owned(),
            health: Answering::of(names.upstream.health()),
        });
        let caches = registry.cache_usage().into_iter().map(|cache| {
            let size = CacheSize { entries: cache.entries, bytes: cache.bytes };
            (cache.name.to_owned(), size)
        });
        let (redirected, streamed, fetched) = (totals.redirected_bytes, totals.streamed_bytes, totals.fetched_bytes);
        let saved = totals.traffic().saved();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: time(began.0),
            uptime_seconds: began.1.elapsed().as_secs(),
            fills: Fills {
                running: running as u64,
                waiting: waiting as u64,
                stored: totals.fills.stored,
                followed: totals.fills.followed,
                left: totals.fills.left,
                failed: totals.fills.failed,
                memory_bytes: totals.fill_memory,
                memory_limit_bytes: totals.fill_memory_limit,
                list: fills.iter().map(Fill::of).collect(),
            },
            blobs: Answers::of(&totals.blobs),
            manifests: Answers::of(&totals.manifests),
            bytes: Bytes { redirected, streamed, fetched, saved },
            upstreams: upstreams.collect(),
            bucket: Storage::of(registry.bucket()),
            caches: caches.collect(),
            connections: totals.connections,
        }
    }
}

impl Fill {
    fn of(fill: &FillStatus) -> Self {
        Self {
            repository: fill.repository.to_string(),
            digest: fill.digest.to_string(),
            size: fill.size,
            received: fill.received,
            bytes_per_second: fill.bytes_per_second,
            readers: fill.readers as u64,
            connections: fill.connections as u64,
            retries: fill.retries,
            upstream: fill.upstream.clone(),
            shared: fill.shared.to_owned(),
            seconds: fill.age.as_secs(),
        }
    }
}

impl Answers {
    fn of(totals: &OutcomeTotals) -> Self {
        let answered = totals.iter().map(|(_, count)| count).sum();
        let hits = totals.iter().filter(|(outcome, _)| outcome.is_hit()).map(|(_, count)| count).sum();
        let outcomes = totals.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts, to four digits")]
        let ratio = |hits: u64| (hits as f64 / answered as f64 * 1e4).round() / 1e4;
        Self { answered, hits, hit_ratio: (answered > 0).then(|| ratio(hits)), outcomes }
    }
}

impl Storage {
    fn of((location, health): (&Location, &Health)) -> Self {
        let health = Answering::of(health);
        match location {
            Location::Folder(folder) => Self { folder: Some(folder.display().to_string()), health, ..Self::default() },
            Location::Bucket { bucket, endpoint } => {
                let (bucket, endpoint) = (Some(bucket.clone()), Some(endpoint.clone()));
                Self { bucket, endpoint, folder: None, health }
            }
        }
    }
}

impl Answering {
    fn of(health: &Health) -> Self {
        let last_answer = health.last().map(|last| LastAnswer {
            at: time(last.at),
            status: last.status,
            milliseconds: millis(last.took),
        });
        let failing = health.failing().map(|failing| Failing {
            since: time(failing.since),
            seconds: failing.duration().as_secs(),
            cause: failing.cause.clone(),
        });
        Self { last_answer, failing }
    }
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Outcome;

    #[test]
    fn the_hit_ratio_is_of_all_answers() {
        let totals = Outcome::ALL.map(|outcome| {
            let count = match outcome {
                Outcome::Hit => 2,
                Outcome::Stream | Outcome::Fill => 1,
                _ => 0,
            };
            (outcome, count)
        });
        let answers = Answers::of(&totals);
        assert_eq!((answers.answered, answers.hits, answers.hit_ratio), (4, 3, Some(0.75)));
        assert_eq!(Answers::of(&Outcome::ALL.map(|outcome| (outcome, 0))).hit_ratio, None);
    }
}
