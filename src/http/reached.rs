//! How a client reached pounce: its address, and the URL under which it knows the registry.
//!
//! What a proxy says of that (`http.forwardedproto`, `forwardedhost`, `forwardedfor`) is believed of those in
//! `http.trustedproxies` only: everybody else could say anything.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version};
use ipnet::IpNet;
use url::Url;

use super::Site;
use super::server::Peer;

/// Most proxies add it: it tells that there is one.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    peer: Peer,
    by_proxy: bool,
    /// Whose request it is.
    pub(super) client: IpAddr,
}

impl Reached {
    pub(super) fn of(site: &Site, request: &Parts, peer: Peer) -> Self {
        let address = peer.addr.ip().to_canonical();
        let by_proxy = lies_in(&site.trusted_proxies, address);
        if !by_proxy && request.headers.contains_key(FORWARDED_PROTO) {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(
                    proxy = %address,
                    "a proxy says how clients reach pounce, and is not in http.trustedproxies: it is not believed, \
                     and all its clients count as one"
                );
            });
        }
        let client = if by_proxy { behind(site, address, &request.headers) } else { address };
        Self { peer, by_proxy, client }
    }

    /// The URL that clients use, up to the first slash of its path, if anything says so for certain: `http.host`, or a
    /// proxy that is trusted.
    pub(super) fn certain(&self, site: &Site, request: &Parts) -> Option<Url> {
        if site.fixed_base {
            return Some(site.base.clone());
        }
        if self.by_proxy && request.headers.contains_key(&site.forwarded_proto) {
            return self.base(site, request);
        }
        None
    }

    /// The URL that this client seems to use.
    pub(super) fn base(&self, site: &Site, request: &Parts) -> Option<Url> {
        if site.fixed_base {
            return Some(site.base.clone());
        }
        let forwarded = last(&request.headers, &site.forwarded_proto).filter(|_| self.by_proxy);
        let tls = match forwarded {
            Some(scheme) => scheme.eq_ignore_ascii_case("https"),
            None => self.peer.tls,
        };
        let host = request.headers.get(header::HOST).and_then(text);
        // HTTP/2 has it in the URL.
        let host = host.or_else(|| request.uri.authority().map(Authority::as_str));
        let host = self.forwarded_host(site, &request.headers).or(host)?;
        if !is_host(host) {
            return None;
        }
        let scheme = if tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{host}/")).ok()
    }

    /// The URL under which clients get tokens, for which they show passwords: never one in the clear where anybody says
    /// that it is not, trusted or not.
    pub(super) fn realm(&self, site: &Site, request: &Parts) -> Url {
        let mut url = self.base(site, request).unwrap_or(site.base.clone());
        let says_https =
            last(&request.headers, &FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        if says_https && !site.fixed_base {
            // The one web scheme in place of the other.
            let _ = url.set_scheme("https");
        }
        url
    }

    /// The host that the client called, where a trusted proxy put another one in its place.
    pub(super) fn forwarded_host<'a>(&self, site: &Site, headers: &'a HeaderMap) -> Option<&'a str> {
        last(headers, &site.forwarded_host).filter(|host| self.by_proxy && is_host(host))
    }
}

/// Makes a `Location` inside the registry absolute, where that is certain to be right, or asked for
/// (`http.relativeurls`). Otherwise it stays relative: a client knows better than pounce how it got here.
pub(super) fn locate(site: &Site, request: &Parts, reached: &Reached, headers: &mut HeaderMap) {
    let location = headers.get(header::LOCATION);
    // Most are URLs of the bucket, and long.
    let path = location.filter(|value| value.as_bytes().starts_with(b"/"));
    let Some(path) = path.and_then(text) else {
        return;
    };
    let base = match site.relative_urls {
        Some(true) => None,
        Some(false) => reached.base(site, request),
        None => reached.certain(site, request),
    };
    if let Some(url) = base.and_then(|base| base.join(&public_path(site, path)).ok()) {
        let url = super::headers::value(url.as_str());
        headers.insert(header::LOCATION, url);
    }
}

/// The path under which clients reach one of pounce's own: that of `http.host` takes the place of `http.prefix`.
pub(super) fn public_path<'a>(site: &Site, path: &'a str) -> Cow<'a, str> {
    if site.base_path.is_empty() {
        return Cow::Borrowed(path);
    }
    let inside = path.strip_prefix(site.prefix.as_str());
    let inside = inside.filter(|rest| rest.starts_with('/')).unwrap_or(path);
    Cow::Owned(format!("{}{inside}", site.base_path))
}

/// Whether a request of HTTP/1.1 has no `Host`, or several.
pub(super) fn has_wrong_host(request: &Parts) -> bool {
    let hosts = request.headers.get_all(header::HOST).iter().count();
    request.version == Version::HTTP_11 && hosts != 1
}

/// A name of the DNS or an address, with a port or not. It becomes part of URLs and of headers; and what is longer
/// would only fill the cache of URLs.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (1..=260).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn lies_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Whose request it is that a proxy passes on (`http.forwardedfor`): the last address that is no trusted proxy's own.
/// What stands before it, its owner may have made up.
fn behind(site: &Site, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
    let lines = headers.get_all(&site.forwarded_for).iter().rev().filter_map(text);
    let mut client = proxy;
    for entry in lines.flat_map(|line| line.rsplit(',')) {
        let entry = entry.trim();
        let address = entry.parse::<IpAddr>().ok();
        // Some proxies add the port.
        let address = address.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
        let Some(address) = address else {
            break;
        };
        client = address.to_canonical();
        if !lies_in(&site.trusted_proxies, client) {
            break;
        }
    }
    client
}

/// The last of several values: the one that the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back().and_then(text)?;
    let value = line.rsplit(',').next().unwrap_or(line).trim();
    (!value.is_empty()).then_some(value)
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}
