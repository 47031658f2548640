//! Which view a path is.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::view::View;
use super::{assets, delete, image, login, overview, repository, response, session, stream};
use crate::http::endpoint::READS;
use crate::http::rejection::not_an_endpoint;
use crate::http::server::{LingeringBody, Peer};
use crate::http::{Answer, AppState, Context, LogEntry, Rejection};
use crate::oci::{Error, ErrorCode, Reference, RepositoryName, Tag};
use crate::telemetry::RequestKind;

/// The methods of a view with a form.
const FORM: &str = "GET, HEAD, POST, OPTIONS";
/// The most bytes of a form that are discarded behind its response.
const MAX_DISCARDED: usize = 1 << 20;

/// What a path below the prefix is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Path<'a> {
    Overview,
    Asset(&'a str),
    Live,
    Login,
    Logout,
    Repository(RepositoryName),
    Image(RepositoryName, Reference),
    Delete(RepositoryName, Tag),
}

impl<'a> Path<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        if matches!(path, "" | "/" | "/-" | "/-/") {
            return Some(Self::Overview);
        }
        let path = path.strip_prefix("/-/")?;
        match path.split_once('/') {
            None if path == "live" => Some(Self::Live),
            None if path == "login" => Some(Self::Login),
            None if path == "logout" => Some(Self::Logout),
            Some(("static", name)) => Some(Self::Asset(name)),
            Some(("repositories", path)) => Self::parse_repository(path),
            _ => None,
        }
    }

    /// `<name>`, `<name>/-/<reference>` or `<name>/-/<tag>/delete`: no component of a name is `-`.
    fn parse_repository(path: &str) -> Option<Self> {
        let Some((name, rest)) = path.split_once("/-/") else {
            return Some(Self::Repository(path.parse().ok()?));
        };
        let name = name.parse().ok()?;
        if let Some(tag) = rest.strip_suffix("/delete") {
            return Some(Self::Delete(name, tag.parse().ok()?));
        }
        let reference = percent_decode_str(rest).decode_utf8().ok()?;
        let reference = if reference.contains(':') {
            Reference::Digest(reference.parse().ok()?)
        } else {
            Reference::Tag(reference.parse().ok()?)
        };
        Some(Self::Image(name, reference))
    }

    /// The methods that it has.
    const fn methods(&self) -> &'static str {
        match self {
            Self::Overview | Self::Asset(_) | Self::Live | Self::Repository(_) | Self::Image(..) => READS,
            Self::Login | Self::Delete(..) => FORM,
            Self::Logout => "POST, OPTIONS",
        }
    }
}

/// Whether a path below the prefix is the page's, whichever client asks.
pub(in crate::http) fn is_path(path: &str) -> bool {
    path == "/-" || path.starts_with("/-/")
}

/// Whether a request for `/` is a browser's, which names HTML among the types that it accepts. `*/*` is no browser: curl
/// and probes send it.
pub(in crate::http) fn is_asked_for(request: &Parts) -> bool {
    let (method, headers) = (&request.method, &request.headers);
    [Method::GET, Method::HEAD].contains(method) && accepts_html(headers)
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let is_html = |text: &str| text.split(';').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("text/html"));
    lines.flat_map(|line| line.split(',')).any(is_html)
}

/// Answers a request for the page.
pub(in crate::http) async fn respond(app: &Arc<AppState>, parts: Parts, body: Body, peer: Peer) -> Response {
    let cx = &Context::new(app, &parts, peer);
    let body = LingeringBody::wrap(body, MAX_DISCARDED);
    let mut entry = LogEntry::begin(cx);
    entry.set_kind(RequestKind::Page);
    let view = View::of(cx);
    entry.set_user(view.identity.user());
    let answer = match Box::pin(answer(app, &view, body)).await {
        Ok(answer) => answer,
        Err(rejection) => response::rejected(&view, rejection),
    };
    response::finish(cx, entry, answer)
}

async fn answer(app: &Arc<AppState>, view: &View<'_>, body: Body) -> Result<Answer, Rejection> {
    let (cx, memory) = (view.cx, &view.cx.app.memory);
    let path = Path::parse(cx.path()).ok_or_else(not_an_endpoint)?;
    if let Path::Asset(name) = path
        && cx.request.method.is_safe()
    {
        return Ok(assets::serve(name)?);
    }
    let _memory = memory.reserve_request(cx.client.ip, cx.request).await?;
    let answer = match cx.request.method {
        Method::GET | Method::HEAD => read(app, view, &path).await,
        Method::POST => change(view, &path, body).await,
        _ => Err(Rejection::Method(path.methods())),
    };
    memory.hold_now(cx.request, cx.client.ip, answer?).ok_or_else(|| crate::http::budget::exhausted().into())
}

async fn read(app: &Arc<AppState>, view: &View<'_>, path: &Path<'_>) -> Result<Answer, Rejection> {
    match path {
        Path::Overview => overview::show(view).await,
        Path::Asset(name) => Ok(assets::serve(name)?),
        Path::Live => Ok(stream::open(app, view)?),
        Path::Login => Ok(login::show(view)),
        Path::Logout => Err(Rejection::Method(path.methods())),
        Path::Repository(name) => repository::show(view, name).await,
        Path::Image(name, reference) => image::show(view, name, reference).await,
        Path::Delete(name, tag) => delete::ask(view, name, tag).await,
    }
}

async fn change(view: &View<'_>, path: &Path<'_>, body: Body) -> Result<Answer, Rejection> {
    if !matches!(path, Path::Login | Path::Logout | Path::Delete(..)) {
        return Err(Rejection::Method(path.methods()));
    }
    if !session::is_own(view.cx) {
        let message = "this request does not come from a page of this registry, so nothing was done";
        return Err(Error::new(ErrorCode::Denied, message).into());
    }
    match path {
        Path::Login => login::submit(view, body).await,
        Path::Delete(name, tag) => delete::submit(view, name, tag, body).await,
        _ => Ok(login::log_out(view)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let name: RepositoryName = "a/b".parse().unwrap();
        let tag: Tag = "v1".parse().unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        let (by_digest, escaped) = (
            format!("/-/repositories/a/b/-/{digest}"),
            format!("/-/repositories/a/b/-/{}", digest.replace(':', "%3A")),
        );
        let deleted = format!("{by_digest}/delete");
        let of = |path| Path::parse(path);
        for path in ["", "/", "/-", "/-/"] {
            assert_eq!(of(path), Some(Path::Overview));
        }
        assert_eq!(of("/-/repositories/a/b"), Some(Path::Repository(name.clone())));
        let image = Some(Path::Image(name.clone(), Reference::Tag(tag.clone())));
        assert_eq!(of("/-/repositories/a/b/-/v1"), image);
        assert_eq!(of("/-/repositories/a/b/-/v1/delete"), Some(Path::Delete(name.clone(), tag)));
        let image = Some(Path::Image(name, Reference::Digest(digest.parse().unwrap())));
        assert_eq!((of(&by_digest), of(&escaped), of(&deleted)), (image.clone(), image, None));
        for path in
            ["/-/repositories/", "/-/repositories/A", "/-/repositories/a/-/", "/-/x", "/x", "/-/repositories/a/-/x y"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn only_a_browser_names_html() {
        let accepts = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, header::HeaderValue::from_static(line));
            }
            accepts_html(&headers)
        };
        assert!(accepts(&["text/html,application/xhtml+xml,*/*;q=0.8"]));
        assert!(accepts(&["image/png", "Text/HTML;q=0.1"]));
        assert!(!accepts(&[]) && !accepts(&["*/*"]) && !accepts(&["text/*, application/json"]));
    }
}
