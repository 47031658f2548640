//! Where a session begins and ends, and which requests of a browser may change something.

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;

use super::cookie::COOKIE;
use super::view::View;
use crate::auth::Session;
use crate::http::{Context, headers, public_url};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The cookie of a session that begins; `None` ends it. Scripts cannot read it, no other site's requests have it, and
/// only this registry gets it.
pub(super) fn set_cookie(view: &View<'_>, session: Option<&Session>) -> HeaderValue {
    let (text, life) = session.map_or(("", 0), |session| (&session.text[..], session.life.as_secs()));
    let root = view.href("/");
    let path = root.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&root);
    let secure = if view.is_plain() { "" } else { "; Secure" };
    headers::value(&format!("{COOKIE}={text}; Path={path}; Max-Age={life}; HttpOnly; SameSite=Strict{secure}"))
}

/// Whether a request comes from a view of this registry. A browser says so (the Fetch metadata of the W3C); one that does
/// not, because it is old or the connection is not encrypted, says where the form was.
pub(super) fn is_own(cx: &Context<'_>) -> bool {
    let of = |name: &HeaderName| {
        let mut lines = cx.request.headers.get_all(name).iter();
        (lines.next().map(|line| line.to_str().unwrap_or_default()), lines.next().is_none())
    };
    match (of(&FETCH_SITE), of(&header::ORIGIN)) {
        ((Some(site), true), _) => site == "same-origin",
        ((None, _), (Some(origin), true)) => is_own_origin(cx, origin),
        _ => false,
    }
}

fn is_own_origin(cx: &Context<'_>, origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let own = public_url::base(cx).map(|base| base.origin().ascii_serialization());
    let is_called = host.zip(public_url::called_host(cx)).is_some_and(|(host, own)| host.eq_ignore_ascii_case(own));
    is_called || own.is_some_and(|own| own.eq_ignore_ascii_case(origin))
}

/// The address to go to after a login: a path of this registry, so that no other site can be named.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    (is_path && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')).then_some(text)
}

/// The path and the query of a request, as the browser has them.
pub(super) fn requested(view: &View<'_>, request: &Parts) -> String {
    let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = view.cx.path();
    view.href(format_args!("{}{query}", if path.is_empty() { "/" } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_registry_are_gone_to() {
        for path in ["/", "/-/repositories/a/b?last=x", "/r/-/repositories/a/-/sha256:12"] {
            assert_eq!(own_path(path), Some(path));
        }
        for path in
            ["", "x", "//evil.example/", "/\\evil.example", "https://evil.example", "/a\\b", "/a b", "/\r\nx", "/ä"]
        {
            assert_eq!(own_path(path), None, "{path:?}");
        }
    }
}
