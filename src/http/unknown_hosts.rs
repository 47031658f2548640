//! Clients that take pounce for a mirror of a host that it has no upstream for.
//!
//! containerd sends the host of an image's reference as `?ns=`, and goes on to that host itself when its mirror answers
//! 404. So every pull works, but nothing is cached. The log and a metric tell the operator.

use std::time::Duration;

use super::query::Query;
use crate::config::UpstreamHost;
use crate::log_limit::LogLimit;
use crate::oci::Error;
use crate::registry::Registry;
use crate::telemetry::Metrics;

/// How long after a warning the same host is warned of again.
const WARN_INTERVAL: Duration = Duration::from_hours(1);
/// How many hosts are warned of in that time.
const MAX_HOSTS: usize = 64;

/// The hosts that were warned of.
#[derive(Debug)]
pub(super) struct UnknownHosts(LogLimit<UpstreamHost>);

impl Default for UnknownHosts {
    fn default() -> Self {
        Self(LogLimit::new(WARN_INTERVAL, MAX_HOSTS))
    }
}

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
        if self.0.is_due(host) {
            tracing::warn!(
                ns = shown,
                "clients use this registry as a mirror of {shown}, and pull past it: {}",
                error.message()
            );
        }
    }
}
