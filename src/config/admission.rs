//! `allow`, `deny` and `immutable`, beside `remoteurl`: which images may come in, and which tags never change.

use super::error::ConfigError;
use super::hosts::UpstreamHost;
use super::proxy::{Proxy, Remote};

/// Checks the patterns of all upstreams.
pub(super) fn check(proxy: &Proxy, errors: &mut Vec<ConfigError>) {
    let own = proxy.own();
    let further = proxy.upstreams.iter().enumerate();
    let all = further.map(|(index, remote)| (format!("proxy.upstreams.{index}"), remote));
    for (setting, remote) in all.chain([("proxy".to_owned(), &own)]) {
        let hosts = if setting == "proxy" { proxy.default_hosts() } else { remote.host.iter().cloned().collect() };
        if let Err((key, message)) = check_remote(remote, &hosts) {
            errors.push(ConfigError::value(format!("{setting}.{key}"), message));
        }
    }
}

fn check_remote(remote: &Remote, hosts: &[UpstreamHost]) -> Result<(), (&'static str, String)> {
    let allow = remote.allow.as_deref().unwrap_or_default();
    let lists = [("allow", allow), ("deny", &remote.deny), ("immutable", &remote.immutable)];
    for (key, patterns) in lists {
        for pattern in patterns {
            let first = pattern.host_like();
            if first.is_some_and(|first| hosts.iter().any(|host| host.component() == first)) {
                let message = format!("{}: write the name without the host, as the upstream has it", pattern.as_str());
                return Err((key, message));
            }
        }
    }
    for pattern in allow {
        if let Some(denied) = remote.deny.iter().find(|deny| deny.covers(pattern)) {
            let message =
                format!("{} never counts, because deny has {}, which comes first", pattern.as_str(), denied.as_str());
            return Err(("allow", message));
        }
    }
    Ok(())
}
