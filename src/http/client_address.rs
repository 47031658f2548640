//! The address of a request's client, behind trusted proxies or not.
//!
//! Only proxies in `http.trustedproxies` are believed (`http.forwardedfor`), because any client can send the same
//! headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use ipnet::IpNet;

use super::AppState;
use super::server::Peer;
use crate::config::Http;

/// Most proxies send it.
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress {
    /// The client's.
    pub(super) ip: IpAddr,
    /// The port of the client's connection, if no trusted proxy forwards the request.
    pub(super) port: Option<u16>,
    /// A trusted proxy forwards the request.
    pub(super) by_proxy: bool,
    /// The connection, of the client or of the proxy, is encrypted.
    pub(super) tls: bool,
    /// A trusted proxy says for which client it forwards the request.
    is_named: bool,
}

impl ClientAddress {
    pub(super) fn of(app: &AppState, request: &Parts, peer: Peer) -> Self {
        let peer_ip = peer.addr.ip().to_canonical();
        let by_proxy = is_in(&app.config.http.trustedproxies, peer_ip);
        if !by_proxy {
            warn_of_untrusted_proxy(&app.config.http, peer_ip, request);
        }
        if by_proxy && is_unclear(&app.config.http, request) {
            warn_of_silent_proxy(peer_ip, &app.config.http.forwardedproto);
        }
        let (ip, is_named) = if by_proxy { forwarded_for(app, peer_ip, &request.headers) } else { (peer_ip, false) };
        Self { ip, port: (!by_proxy).then(|| peer.addr.port()), by_proxy, tls: peer.tls, is_named }
    }
}

impl ClientAddress {
    /// The client's address, for rules that trust networks. `None` where a proxy forwards the request that is not
    /// trusted, or one that is trusted and does not say for which client: the address would be the proxy's, and all the
    /// world could come from it.
    pub(super) fn certain_ip(self, app: &AppState, request: &Parts) -> Option<IpAddr> {
        let forwardedfor = &app.config.http.forwardedfor;
        let is_certain = if self.by_proxy {
            self.is_named
        } else {
            !PROXY_HEADERS.iter().chain([forwardedfor]).any(|name| request.headers.contains_key(name))
        };
        if !is_certain && self.by_proxy {
            warn_of_nameless_clients(self.ip, forwardedfor);
        } else if !is_certain {
            warn_of_uncertain_address(self.ip);
        }
        is_certain.then_some(self.ip)
    }
}

/// What proxies add to a request: RFC 7239, RFC 9110 (section 7.6.3), and what was there before these.
const PROXY_HEADERS: [HeaderName; 5] = [
    header::FORWARDED,
    header::VIA,
    FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// The log must not talk an operator into trusting a client: every client can send such headers, and one whose address
/// is trusted may claim any other address. So these lines say what would be set if the address is a proxy's, and that it
/// may be none.
fn warn_of_uncertain_address(address: IpAddr) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %address,
            "requests with a proxy's headers come from an address that is not in http.trustedproxies: rules with \
             networks allow them nothing. Name the address there only if it is your proxy's: clients can send such \
             headers, too"
        );
    });
}

fn warn_of_nameless_clients(proxy: IpAddr, header: &HeaderName) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %proxy, %header,
            "a proxy in http.trustedproxies does not say for which client it forwards a request: rules with networks \
             allow such requests nothing; let the proxy send http.forwardedfor"
        );
    });
}

/// Once for addresses of private networks, and once for public ones, so that no client in the internet keeps the line
/// about a proxy out of the log. Only the former has a setting to copy: a public address is more likely a client's, which
/// made the headers up.
fn warn_of_untrusted_proxy(http: &Http, address: IpAddr, request: &Parts) {
    static PRIVATE: Once = Once::new();
    static PUBLIC: Once = Once::new();
    let warned = if is_private(address) { &PRIVATE } else { &PUBLIC };
    let has = |name: &HeaderName| request.headers.contains_key(name);
    // X-Forwarded-For by itself may come from a proxy on the client's side.
    let names_client = || http.forwardedfor != "x-forwarded-for" && has(&http.forwardedfor);
    if warned.is_completed() || !(has(&FORWARDED_PROTO) || has(&http.forwardedproto) || names_client()) {
        return;
    }
    warned.call_once(|| {
        if is_private(address) {
            let networks = http.trustedproxies.iter().map(ToString::to_string).chain([address.to_string()]);
            let setting = format!("REGISTRY_HTTP_TRUSTEDPROXIES={}", networks.collect::<Vec<_>>().join(","));
            tracing::warn!(
                %address, setting,
                "requests with a proxy's headers come from an address that is not in http.trustedproxies: the headers \
                 are not believed, and all clients of such a proxy count as one. If this is your proxy, set that, or its \
                 network. If it is a client, leave it: clients can send such headers, too"
            );
        } else {
            tracing::warn!(
                %address,
                "requests with a proxy's headers come from a public address that is not in http.trustedproxies: the \
                 headers are not believed. Clients can send them, too: name the address there only if you know from \
                 elsewhere that it is your proxy's, because what is named there may claim to be any client"
            );
        }
    });
}

/// Whether no client in the internet can have this address: those of private networks, of the machine, of the link, and
/// of a carrier's own network (RFC 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether neither the configuration nor the proxy says the scheme of the client's URL. A proxy's own probes have no
/// such header, and ask for no content.
fn is_unclear(http: &Http, request: &Parts) -> bool {
    http.host.is_none()
        && !request.headers.contains_key(&http.forwardedproto)
        && request.uri.path().strip_prefix("/v2/").is_some_and(|rest| !rest.is_empty())
}

/// Without the header, pounce takes the scheme of the proxy's connection for the client's.
fn warn_of_silent_proxy(proxy: IpAddr, header: &HeaderName) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %proxy, %header,
            "a proxy in http.trustedproxies sends no http.forwardedproto: URLs for its clients may begin with http \
             where they use https; let the proxy send the header, or set http.host"
        );
    });
}

pub(super) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The client of a trusted proxy's request (`http.forwardedfor`): the last address that is not a trusted proxy's. The
/// client may have made up the addresses before it. The proxy's own address, and `false`, where there is none, or a
/// word in its place, as RFC 7239 has `unknown`.
fn forwarded_for(app: &AppState, proxy: IpAddr, headers: &HeaderMap) -> (IpAddr, bool) {
    let lines = headers.get_all(&app.config.http.forwardedfor).iter().rev().filter_map(|line| line.to_str().ok());
    let (mut client, mut is_named) = (proxy, false);
    for entry in lines.flat_map(|line| line.rsplit(',')) {
        let entry = entry.trim();
        let address = entry.parse::<IpAddr>().ok();
        // Some proxies add the port.
        let address = address.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
        let Some(address) = address else {
            is_named = false;
            break;
        };
        (client, is_named) = (address.to_canonical(), true);
        if !is_in(&app.config.http.trustedproxies, client) {
            break;
        }
    }
    (client, is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_internet_are_public() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.16.5.9", true),
            ("172.32.0.1", false),
            ("192.168.0.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.1", false),
            ("66.241.124.7", false),
            ("::1", true),
            ("fdaa:0:1::3", true),
            ("fe80::1", true),
            ("2a09:8280:1::7", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
