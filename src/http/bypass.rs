//! Clients that take pounce for a mirror of a host that it has no upstream for.
//!
//! containerd sends the host of an image's reference as `?ns=`, and goes on to that host itself when its mirror answers
//! 404. So every pull works, nothing is cached, and only a log that is read tells.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Site;
use super::query::Query;
use crate::config::UpstreamHost;
use crate::oci::Error;

/// How long after a warning the same host is warned of again.
const AGAIN: Duration = Duration::from_hours(1);
/// The hosts that are remembered. A client can make up any number of them, and none of its own may flood the log.
const MOST: usize = 64;

/// The hosts that were warned of, and when.
#[derive(Debug, Default)]
pub struct Bypass(Mutex<HashMap<UpstreamHost, Instant>>);

impl Bypass {
    /// True once an hour for a host, and not at all for further ones while [`MOST`] are remembered.
    fn is_due(&self, host: UpstreamHost) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|_, when| when.elapsed() < AGAIN);
        if warned.contains_key(&host) || warned.len() >= MOST {
            return false;
        }
        warned.insert(host, Instant::now());
        true
    }
}

/// Counts a request that was answered with `error` because of its `?ns=`, and warns of the host.
pub(super) fn note(site: &Site, query: Option<&str>, error: &Error) {
    let Some(ns) = Query::new(query).get("ns").filter(|ns| !ns.is_empty()) else {
        return;
    };
    let host = ns.parse::<UpstreamHost>().ok();
    if let Some(host) = &host
        && site.registry.repositories.hosts().contains(&host.as_str())
    {
        // The host is known, and the name is no repository's there.
        return;
    }
    site.metrics.unknown_host();
    // What cannot be a host is a mistake of one client's.
    let Some(host) = host else { return };
    let shown = host.as_str().to_owned();
    if site.bypass.is_due(host) {
        tracing::warn!(
            ns = shown,
            "clients use this registry as a mirror of {shown}, and pull past it: {}",
            error.message()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_due_once_and_their_number_is_bounded() {
        let bypass = Bypass::default();
        let host = |number: usize| format!("h{number}.example.com").parse().unwrap();
        let due = |number| bypass.is_due(host(number));
        assert!(due(0) && !due(0));
        assert_eq!((0..1000).filter(|number| due(*number)).count(), MOST - 1);
    }
}
