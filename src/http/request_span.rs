//! The span of a client's request in its trace, by OpenTelemetry's conventions for HTTP servers.
//!
//! It has the path and never the query, in which signatures and the states of uploads are, and no name of a user.

use axum::http::{Version, header};

use super::{Context, public_url};
use crate::oci::Outcome;
use crate::telemetry::{RequestKind, Span, cut_text};

/// What is known of a request at its end.
pub(super) struct Ended<'a> {
    pub(super) method: &'a str,
    pub(super) kind: RequestKind,
    /// `None`: the client left before there was a response.
    pub(super) status: Option<u16>,
    pub(super) repository: Option<&'a str>,
    pub(super) outcome: Option<Outcome>,
    /// Of the body that left, in bytes.
    pub(super) bytes: u64,
    /// The whole body left.
    pub(super) complete: bool,
}

pub(super) fn begin(cx: &Context<'_>) -> Span {
    let request = cx.request;
    let span = Span::of_request(&request.headers);
    if !span.is_recording() {
        return span;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(cut_text(bytes)).into_owned();
    span.set("http.request.method", text(request.method.as_str().as_bytes()));
    span.set("url.path", text(request.uri.path().as_bytes()));
    span.set("url.scheme", if cx.client.tls { "https" } else { "http" });
    span.set("client.address", cx.client.ip.to_string());
    span.set_if_known("server.address", public_url::called_host(cx).map(|host| text(host.as_bytes())));
    let user_agent = request.headers.get(header::USER_AGENT);
    span.set_if_known("user_agent.original", user_agent.map(|value| text(value.as_bytes())));
    let version = match request.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    span.set("network.protocol.version", version);
    span
}

pub(super) fn end(span: &Span, ended: &Ended<'_>) {
    if span.is_recording() {
        let Ended { method, kind, status, repository, outcome, bytes, complete } = *ended;
        match route(kind) {
            Some(route) => {
                span.rename(format!("{method} {route}"));
                span.set("http.route", route);
            }
            None => span.rename(method.to_owned()),
        }
        span.set_if_known("pounce.repository", repository.map(str::to_owned));
        span.set_if_known("pounce.outcome", outcome.map(Outcome::as_str));
        span.set("http.response.body.size", i64::try_from(bytes).unwrap_or(i64::MAX));
        span.set_if_known("http.response.status_code", status.map(i64::from));
        match status {
            // A status below 500 is an error of the client's, and none of the server's.
            Some(status @ 500..) => span.fail(status.to_string()),
            Some(_) if complete => {}
            Some(_) | None => span.fail("incomplete"),
        }
    }
    span.end();
}

/// The path of an endpoint, with names for its parts.
const fn route(kind: RequestKind) -> Option<&'static str> {
    Some(match kind {
        RequestKind::Support => "/v2/",
        RequestKind::PullBlob | RequestKind::PullSignedBlob | RequestKind::DeleteBlob => "/v2/{name}/blobs/{digest}",
        RequestKind::PullManifest | RequestKind::PushManifest | RequestKind::DeleteManifest => {
            "/v2/{name}/manifests/{reference}"
        }
        RequestKind::BeginUpload | RequestKind::PushBlob | RequestKind::Mount => "/v2/{name}/blobs/uploads/",
        RequestKind::PushChunk | RequestKind::CloseUpload | RequestKind::UploadStatus | RequestKind::CancelUpload => {
            "/v2/{name}/blobs/uploads/{id}"
        }
        RequestKind::ListTags => "/v2/{name}/tags/list",
        RequestKind::ListReferrers => "/v2/{name}/referrers/{digest}",
        RequestKind::Catalog => "/v2/_catalog",
        RequestKind::Upstreams => "/v2/_pounce/upstreams",
        RequestKind::EmbeddedS3 => "/pounce/{key}",
        RequestKind::Token | RequestKind::Page | RequestKind::Probe | RequestKind::Other => return None,
    })
}
