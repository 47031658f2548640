//! The URL under which a client reaches this registry.
//!
//! It is `http.host` where that is set, with another name of pounce in its place where the client called that
//! (`proxy.upstreams[].hostnames`). Otherwise it follows from the request: from its `Host`, or from headers of a
//! trusted proxy (`http.forwardedproto`, `http.forwardedhost`).

use std::borrow::Cow;

use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version};
use url::Url;

use super::client_address::FORWARDED_PROTO;
use super::{AppState, Context, headers};

/// The URL that this client seems to use, up to the first slash of its path.
pub(super) fn base(cx: &Context<'_>) -> Option<Url> {
    let text = base_text(cx)?;
    let parsed = Url::parse(&text).ok();
    if cx.app.config.http.host.is_some() { Some(parsed.unwrap_or_else(|| cx.app.base.clone())) } else { parsed }
}

/// The same as text, before it is parsed, and perhaps not valid. Most hosts are written as a URL has them, in lower
/// case and without the default port; then it is the text of the URL, too.
pub(super) fn base_text<'a>(cx: &Context<'a>) -> Option<Cow<'a, str>> {
    let Context { app, request, client } = *cx;
    if app.config.http.host.is_some() {
        return Some(named_base(cx).map_or(Cow::Borrowed(app.base.as_str()), Cow::Owned));
    }
    let forwarded = last(&request.headers, &app.config.http.forwardedproto).filter(|_| client.by_proxy);
    let tls = forwarded.map_or(client.tls, is_https);
    let scheme = if tls { "https" } else { "http" };
    Some(text_of(scheme, called_host(cx)?, "/").into())
}

/// `http.host` under the name that the client called. Ollama, for one, takes tokens only from the host that it called.
fn named_base(cx: &Context<'_>) -> Option<String> {
    let called = called_host(cx)?;
    let routes = cx.app.registry.repositories.routes();
    let mut names = routes.names().flat_map(|upstream| upstream.hostnames);
    let own = &cx.app.base;
    names.any(|name| name.is_called_by(called)).then(|| text_of(own.scheme(), called, own.path()))
}

fn text_of(scheme: &str, host: &str, path: &str) -> String {
    [scheme, "://", host, path].concat()
}

/// The same, if it is certain: from `http.host`, or a trusted proxy.
pub(super) fn certain_base(cx: &Context<'_>) -> Option<Url> {
    let is_forwarded = cx.client.by_proxy && cx.request.headers.contains_key(&cx.app.config.http.forwardedproto);
    if cx.app.config.http.host.is_some() || is_forwarded { base(cx) } else { None }
}

/// The URL under which clients get tokens, for which they send passwords. It is `https` if any proxy, trusted or not,
/// says that the client uses it.
pub(super) fn token_base(cx: &Context<'_>) -> Url {
    let mut url = base(cx).unwrap_or(cx.app.base.clone());
    if cx.app.config.http.host.is_none() && last(&cx.request.headers, &FORWARDED_PROTO).is_some_and(is_https) {
        // `http` may become `https`.
        let _ = url.set_scheme("https");
    }
    url
}

/// The host that the client called, with a port or without.
pub(super) fn called_host<'a>(cx: &Context<'a>) -> Option<&'a str> {
    let request = cx.request;
    // HTTP/2 has it in the URL, and where HTTP/1.1 has it there, `Host` does not count (RFC 9112, section 3.2.2).
    let named = request.uri.authority().map(Authority::as_str);
    let host = named.or_else(|| request.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    forwarded_host(cx).or(host).filter(|host| is_host(host))
}

/// The host that the client called, where a trusted proxy replaced it.
pub(super) fn forwarded_host<'a>(cx: &Context<'a>) -> Option<&'a str> {
    if !cx.client.by_proxy {
        return None;
    }
    last(&cx.request.headers, &cx.app.config.http.forwardedhost).filter(|host| is_host(host))
}

/// Makes a `Location` inside the registry absolute, where that is certain to be right, or configured
/// (`http.relativeurls`). Otherwise it stays relative, because the client knows its own URL better.
pub(super) fn make_location_absolute(cx: &Context<'_>, headers: &mut HeaderMap) {
    let location = headers.get(header::LOCATION);
    // Most are URLs of the bucket, and long.
    let path = location.filter(|value| value.as_bytes().starts_with(b"/"));
    let Some(path) = path.and_then(|path| path.to_str().ok()) else {
        return;
    };
    let base = match cx.app.config.http.relativeurls {
        Some(true) => None,
        Some(false) => base(cx),
        None => certain_base(cx),
    };
    if let Some(url) = base.and_then(|base| base.join(&public_path(cx.app, path)).ok()) {
        let url = headers::value(url.as_str());
        headers.insert(header::LOCATION, url);
    }
}

/// The path under which clients reach one of pounce's own: that of `http.host` replaces `http.prefix`.
pub(super) fn public_path<'a>(app: &AppState, path: &'a str) -> Cow<'a, str> {
    if app.base_path.is_empty() {
        return Cow::Borrowed(path);
    }
    let inside = path.strip_prefix(app.prefix.as_str());
    let inside = inside.filter(|rest| rest.starts_with('/')).unwrap_or(path);
    Cow::Owned(format!("{}{inside}", app.base_path))
}

/// Whether a request has exactly one `Host`, as HTTP/1.1 requires.
pub(super) fn has_valid_host(request: &Parts) -> bool {
    request.version != Version::HTTP_11 || request.headers.get_all(header::HOST).iter().count() == 1
}

/// Whether a text can be a DNS name or an address, with a port or not. It becomes part of URLs and of headers. A longer
/// text would only fill the cache of URLs.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (1..=260).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_https(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https")
}

/// The last of several values: the one that the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let value = line.rsplit(',').next().unwrap_or(line).trim();
    (!value.is_empty()).then_some(value)
}
