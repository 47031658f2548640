//! The span of a request to an upstream, its storage or its token server, by OpenTelemetry's conventions for HTTP
//! clients.
//!
//! Only the upstream gets the context of the trace, because the servers that it redirects to, and its token server, may
//! be other parties. Their spans have no path either, because it may be a secret, as a signature in the query is.

use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, Response};
use url::Url;

use super::request::Request;
use crate::telemetry::{Span, UpstreamCall, UpstreamServer};

/// A request on its way. Dropped, it ends as one that was given up.
#[derive(Debug)]
pub(super) struct RequestSpan(Span);

impl RequestSpan {
    /// A request for content. The upstream's own gets the headers of the trace.
    pub(super) fn begin(server: UpstreamServer, request: &Request, url: &Url, headers: &mut HeaderMap) -> Self {
        let is_home = server == UpstreamServer::Registry;
        let method = request.method.as_str();
        let span = match path(request.call).filter(|_| is_home) {
            Some(path) => Span::client(format!("{method} {path}")),
            None => Span::client(method.to_owned()),
        };
        if span.is_recording() {
            describe(&span, server, &request.method, url);
            if is_home {
                span.set_if_known("url.template", path(request.call));
                span.set("url.path", url.path().to_owned());
            }
            let range = request.headers.get(RANGE).and_then(|range| range.to_str().ok());
            span.set_if_known("http.request.header.range", range.map(str::to_owned));
        }
        if is_home {
            span.inject(headers);
        }
        Self(span)
    }

    /// A request for a token.
    pub(super) fn for_token(method: &Method, realm: &Url) -> Self {
        let span = Span::client(format!("{method} token"));
        if span.is_recording() {
            describe(&span, UpstreamServer::Token, method, realm);
        }
        Self(span)
    }

    /// There is a response, or none.
    pub(super) fn end(self, sent: &Result<Response, reqwest::Error>) {
        match sent {
            Ok(response) => self.0.answered(response.status().as_u16()),
            Err(error) if error.is_timeout() => self.0.fail("timeout"),
            Err(error) if error.is_connect() => self.0.fail("connect"),
            Err(_) => self.0.fail("_OTHER"),
        }
        self.0.end();
    }
}

fn describe(span: &Span, server: UpstreamServer, method: &Method, url: &Url) {
    span.set("http.request.method", method.as_str().to_owned());
    span.set("url.scheme", url.scheme().to_owned());
    span.set_if_known("server.address", url.host_str().map(str::to_owned));
    span.set_if_known("server.port", url.port_or_known_default().map(i64::from));
    span.set("pounce.upstream.server", server.as_str());
}

/// The path of a request, with names for its parts.
const fn path(call: UpstreamCall) -> Option<&'static str> {
    Some(match call {
        UpstreamCall::HeadManifest | UpstreamCall::GetManifest => "/v2/{name}/manifests/{reference}",
        UpstreamCall::HeadBlob | UpstreamCall::GetBlob => "/v2/{name}/blobs/{digest}",
        UpstreamCall::ListTags => "/v2/{name}/tags/list",
        UpstreamCall::ListReferrers => "/v2/{name}/referrers/{digest}",
        UpstreamCall::Support => "/v2/",
        UpstreamCall::Token => return None,
    })
}
