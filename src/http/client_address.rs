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
        if !by_proxy && request.headers.contains_key(FORWARDED_PROTO) {
            warn_of_untrusted_proxy(peer_ip);
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
        if !is_certain {
            warn_of_uncertain_address(self.ip, forwardedfor);
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

fn warn_of_uncertain_address(address: IpAddr, header: &HeaderName) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %address, %header,
            "a proxy forwards requests, and it is not certain for which clients: rules with networks allow them nothing; \
             name the proxy in http.trustedproxies, and let it send http.forwardedfor"
        );
    });
}

fn warn_of_untrusted_proxy(proxy: IpAddr) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %proxy,
            "a proxy sends X-Forwarded-Proto, and is not in http.trustedproxies: it is not believed, and all its \
             clients count as one"
        );
    });
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
