//! Clients that take pounce for a mirror of a host that it has no upstream for.
//!
//! containerd sends the host of an image's reference as `?ns=`, and goes on to that host itself when its mirror answers
//! 404. So every pull works, but nothing is cached. The log and a metric tell the operator.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::query::Query;
use crate::config::UpstreamHost;
use crate::oci::Error;
use crate::registry::Registry;
use crate::telemetry::Metrics;

/// How long after a warning the same host is warned of again.
const WARN_INTERVAL: Duration = Duration::from_hours(1);
/// How many hosts are remembered. A client can make up any number of them, and must not flood the log.
const MAX_HOSTS: usize = 64;

/// The hosts that were warned of, and when.
#[derive(Debug, Default)]
pub(super) struct UnknownHosts(Mutex<HashMap<UpstreamHost, Instant>>);

impl UnknownHosts {
    /// Counts a request that failed with `error` because of its `?ns=`, and warns of the host.
    pub(super) fn report(&self, registry: &Registry, metrics: &Metrics, query: Option<&str>, error: &Error) {
        let Some(ns) = Query::new(query).get("ns").filter(|ns| !ns.is_empty()) else {
            return;
        };
        if registry.repositories.has_host(&ns) {
            // The host is an upstream's, but has no repository of this name.
            return;
        }
        let host = ns.parse::<UpstreamHost>().ok();
        metrics.unknown_host();
        // A text that cannot be a host is one client's mistake.
        let Some(host) = host else { return };
        let shown = host.as_str().to_owned();
        if self.is_due(host) {
            tracing::warn!(
                ns = shown,
                "clients use this registry as a mirror of {shown}, and pull past it: {}",
                error.message()
            );
        }
    }

    /// True once an hour for a host, and never for further hosts while [`MAX_HOSTS`] are remembered.
    fn is_due(&self, host: UpstreamHost) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|_, when| when.elapsed() < WARN_INTERVAL);
        if warned.contains_key(&host) || warned.len() >= MAX_HOSTS {
            return false;
        }
        warned.insert(host, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_due_once_and_their_number_is_bounded() {
        let hosts = UnknownHosts::default();
        let host = |number: usize| format!("h{number}.example.com").parse().unwrap();
        let due = |number| hosts.is_due(host(number));
        assert!(due(0) && !due(0));
        assert_eq!((0..1000).filter(|number| due(*number)).count(), MAX_HOSTS - 1);
    }
}
