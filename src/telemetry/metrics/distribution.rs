//! distribution's names, for dashboards that exist (`http.debug.prometheus.names: distribution`). They stand beside
//! pounce's own.
//!
//! Only those that ask for them pay for them: the client library takes a lock for each count here.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::register::register;
use super::requests::RequestKind;
use super::scraped::Source;
use super::upstreams::{OutcomeTotals, UpstreamList};
use crate::oci::Outcome;

/// distribution's bounds for requests, in seconds; those for its storage end with 10.
const REQUESTS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];
const ACTIONS: usize = 11;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Requested {
    handler: &'static str,
    code: u16,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    handler: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    driver: &'static str,
    action: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Bounds(usize);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(REQUESTS.into_iter().take(self.0))
    }
}

/// The counters that what passes through is counted by.
#[derive(Clone, Debug)]
pub(super) struct Proxied {
    pub(super) upstreams: UpstreamList,
    /// Bytes that came from upstreams: of blobs, and of manifests.
    pub(super) pulled: [Counter; 2],
    /// Bytes that clients got: of blobs by redirects and of those that were streamed, and of manifests.
    pub(super) pushed: [Counter; 3],
}

impl Collector for Proxied {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (manifests, blobs) = self.upstreams.totals();
        let sum = |totals: &OutcomeTotals, of: &dyn Fn(Outcome) -> bool| -> u64 {
            totals.iter().filter(|(outcome, _)| of(*outcome)).map(|(_, count)| count).sum()
        };
        let both = |of: &dyn Fn(Outcome) -> bool| [sum(&blobs, of), sum(&manifests, of)];
        let [redirected, streamed, of_manifests] = self.pushed.each_ref().map(Counter::get);
        for (name, help, counts) in [
            ("requests", "The number of total incoming proxy request received.", both(&|_| true)),
            ("hits", "The number of total proxy request hits.", both(&Outcome::is_hit)),
            ("misses", "The number of total proxy request misses.", both(&|outcome: Outcome| !outcome.is_hit())),
            (
                "pulled_bytes",
                "The size of total bytes pulled from the upstream.",
                self.pulled.each_ref().map(Counter::get),
            ),
            (
                "pushed_bytes",
                "The size of total bytes pushed to the client.",
                [redirected.saturating_add(streamed), of_manifests],
            ),
        ] {
            let name = format!("proxy_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (kind, count) in ["blob", "manifest"].into_iter().zip(counts) {
                ConstCounter::new(count).encode(family.encode_family(&[("type", kind)])?)?;
            }
        }
        Ok(())
    }
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct AnsweredRequest<'a> {
    /// What it was for.
    pub kind: RequestKind,
    /// As the client wrote it.
    pub method: &'a str,
    /// The response's status.
    pub status: u16,
    /// From its header to that of the response.
    pub took: Duration,
}

/// distribution's names.
#[derive(Debug)]
pub(super) struct Distribution {
    requests: Family<Requested, Counter>,
    durations: Family<Took, Histogram, Bounds>,
    actions: Family<Action, Histogram, Bounds>,
    driver: &'static str,
}

impl Distribution {
    pub(super) fn new(registry: &mut Registry, active: Source, proxied: Proxied, driver: &'static str) -> Self {
        let registry = registry.sub_registry_with_prefix("registry");
        let durations = Family::new_with_constructor(Bounds(REQUESTS.len()));
        registry.register("http_request_duration_seconds", "The HTTP request latencies in seconds", durations.clone());
        registry.register("http_in_flight_requests", "The in-flight HTTP requests", active);
        registry.register_collector(Box::new(proxied));
        let actions = Family::new_with_constructor(Bounds(ACTIONS));
        let help = "The number of seconds that the storage action takes";
        registry.register("storage_action_seconds", help, actions.clone());
        Self {
            requests: register(registry, "http_requests", "Total number of HTTP requests made"),
            durations,
            actions,
            driver,
        }
    }

    pub(super) fn request(&self, request: AnsweredRequest<'_>) {
        let Some(handler) = request.kind.handler() else {
            return;
        };
        let method = match request.method {
            "GET" => "get",
            "HEAD" => "head",
            "PUT" => "put",
            "POST" => "post",
            "PATCH" => "patch",
            "DELETE" => "delete",
            "OPTIONS" => "options",
            _ => "unknown",
        };
        self.requests.get_or_create(&Requested { handler, code: request.status, method }).inc();
        self.durations.get_or_create(&Took { handler, method }).observe(request.took.as_secs_f64());
    }

    /// An S3 operation under the name of the action of distribution's drivers that does it.
    pub(super) fn action(&self, operation: &str, took: Duration) {
        let action = match operation {
            "GetObject" => "GetContent",
            "PutObject" => "PutContent",
            "HeadObject" | "HeadBucket" => "Stat",
            "ListObjectsV2" | "ListMultipartUploads" => "List",
            "CopyObject" => "Move",
            "DeleteObject" | "DeleteObjects" => "Delete",
            _ => "Writer",
        };
        self.actions.get_or_create(&Action { driver: self.driver, action }).observe(took.as_secs_f64());
    }
}
