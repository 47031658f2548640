//! Kubernetes' service links: variables for each Service of a namespace, which begin with its name. Docker sets similar
//! ones for a linked container (`--link`). Those of a Service called `registry`, or `registry-auth`, look like
//! settings.

use std::net::IpAddr;

/// Whether a variable is a service link, by its name behind `REGISTRY_` and by its value. Both must match, so that a
/// misspelt setting stays a mistake.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_protocol = |text: &str| ["tcp", "udp", "sctp"].iter().any(|it| text.eq_ignore_ascii_case(it));
    // tcp://10.0.0.1:5000, and tcp://[fd00::1]:5000
    let is_url = |text: &str| {
        let Some((scheme, (host, port))) =
            text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)))
        else {
            return false;
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        is_protocol(scheme) && is_address(host) && is_port(port)
    };
    let is_link = |text: &str| {
        let names = text.strip_prefix('/').and_then(|names| names.split_once('/'));
        names.is_some_and(|(one, other)| !one.is_empty() && !other.is_empty())
    };
    // The parts before are the rest of the Service's name.
    match parts.as_slice() {
        [.., "SERVICE", "HOST"] => is_address(value),
        [.., "PORT", port, protocol, last] if is_port(port) && is_protocol(protocol) => match *last {
            "PROTO" => is_protocol(value),
            "PORT" => is_port(value),
            "ADDR" => is_address(value),
            // Docker's, as in /web/registry.
            "NAME" => is_link(value),
            _ => false,
        },
        [.., "PORT", port, protocol] if is_port(port) && is_protocol(protocol) => is_url(value),
        // A port may have a name.
        parts if parts.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) => is_port(value),
        [.., "PORT"] => is_url(value),
        [.., "NAME"] => is_link(value),
        // Docker's: the variables of the linked container, with any name and value.
        parts if parts.iter().rev().skip(1).any(|part| *part == "ENV") => true,
        _ => false,
    }
}

/// One notice for all of them, which names the first few.
pub(super) fn notice(names: &[&str]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let notice = format!(
        "{shown}{more}: ignored, because Kubernetes makes them for a Service of that name, or Docker for a linked container; \
         enableServiceLinks: false in the pod's spec, and a network in place of --link, take them out"
    );
    (!names.is_empty()).then_some(notice)
}

#[cfg(test)]
mod tests {
    use super::is_service_link;

    #[test]
    fn name_and_value_have_to_fit() {
        let links = [
            ("PORT", "tcp://10.96.0.1:5000"),
            ("PORT", "udp://[fd00::1]:53"),
            ("SERVICE_HOST", "10.96.0.1"),
            ("SERVICE_HOST", "fd00::1"),
            ("SERVICE_PORT", "5000"),
            ("SERVICE_PORT_HTTP", "5000"),
            ("SERVICE_PORT_HTTP_METRICS", "5001"),
            ("PORT_5000_TCP", "tcp://10.96.0.1:5000"),
            ("PORT_5000_TCP_PROTO", "tcp"),
            ("PORT_5000_TCP_PORT", "5000"),
            ("PORT_5000_TCP_ADDR", "10.96.0.1"),
            ("AUTH_PORT", "tcp://10.96.0.1:5001"),
            ("AUTH_SERVICE_PORT_HTTP", "5001"),
            ("AUTH_TOKEN_SERVICE_HOST", "10.96.0.1"),
            ("STORAGE_S3_PORT_9000_TCP_ADDR", "10.96.0.1"),
            ("AUTH_NAME", "/a/b"),
            ("AUTH_ENV_FOO", "anything"),
            ("PORT_5000_TCP_NAME", "/a/b"),
        ];
        for (name, value) in links {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        let others = [
            ("AUTH_TOKEN_SERVICE", "10.96.0.1"),
            ("AUTH_PORT", "5001"),
            ("AUTH_PORT", "http://10.96.0.1:5001"),
            ("AUTH_PORT", "tcp://registry:5000"),
            ("SERVICE_HOST", "registry.example.com"),
            ("SERVICE_PORT", "http"),
            ("PROXY_HOST", "10.96.0.1"),
            ("PORT_5000_TCP_NAME", "x"),
            ("AUTH_NAME", "/a"),
            ("AUTH_NAME", "a/b"),
            ("AUTH_ENV", "x"),
            ("PORT_X_TCP_ADDR", "10.96.0.1"),
            ("", ""),
        ];
        for (name, value) in others {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
