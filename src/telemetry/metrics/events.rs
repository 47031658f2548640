//! Metrics of events, by endpoint.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The endpoint, by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: String,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    endpoint: String,
    result: &'static str,
}

/// The metrics of all endpoints.
#[derive(Debug)]
pub struct EventMetrics {
    ended: Family<Ended, Counter>,
    failed: Family<Endpoint, Counter>,
    pending: Family<Endpoint, Gauge>,
}

/// Those of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct EventCounters {
    /// Events that the endpoint took.
    pub delivered: Counter,
    /// Events that found its queue full.
    pub dropped: Counter,
    /// Requests that it did not answer with success.
    pub failed: Counter,
    /// Events in its queue.
    pub pending: Gauge,
}

impl EventMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { ended: Family::default(), failed: Family::default(), pending: Family::default() };
        registry.register(
            "events",
            "Events for an endpoint, by result: delivered, or dropped because too many waited for it",
            metrics.ended.clone(),
        );
        registry.register(
            "event_failures",
            "Requests that an endpoint did not answer with 2xx or 3xx in time, so that its event is sent again",
            metrics.failed.clone(),
        );
        registry.register("events_pending", "Events that wait for an endpoint", metrics.pending.clone());
        metrics
    }

    /// Those of the endpoint with this name.
    pub(super) fn of(&self, name: &str) -> EventCounters {
        let endpoint = || Endpoint { endpoint: name.to_owned() };
        let ended = |result| self.ended.get_or_create_owned(&Ended { endpoint: name.to_owned(), result });
        EventCounters {
            delivered: ended("delivered"),
            dropped: ended("dropped"),
            failed: self.failed.get_or_create_owned(&endpoint()),
            pending: self.pending.get_or_create_owned(&endpoint()),
        }
    }
}
