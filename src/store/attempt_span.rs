//! The span of an attempt of a request to the bucket, by OpenTelemetry's conventions for S3 and for HTTP clients.
//!
//! It has the kind of the key in place of the key, and no query: there a presigned request has its signature.

use std::time::Duration;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use http::Uri;

use crate::telemetry::Span;

/// What a span says of a request, which is gone when there is a response.
#[derive(Clone, Debug)]
pub(super) struct Target {
    method: String,
    host: Option<String>,
    port: Option<u16>,
    kind: Option<&'static str>,
}

impl Target {
    /// `None`: no span is sent.
    pub(super) fn of(request: &HttpRequest) -> Option<Self> {
        let uri = Span::current().is_recording().then(|| request.uri().parse::<Uri>().ok())??;
        Some(Self {
            method: request.method().to_owned(),
            host: uri.host().map(str::to_owned),
            port: uri.port_u16(),
            kind: kind(uri.path()),
        })
    }
}

/// Makes the span of an attempt that has ended after this time: with a response, or without an answer.
pub(super) fn emit(operation: &str, target: &Target, response: Option<&HttpResponse>, took: Duration) {
    let span = Span::client_since(format!("S3/{operation}"), took);
    span.set("rpc.system", "aws-api");
    span.set("rpc.service", "S3");
    span.set("rpc.method", operation.to_owned());
    span.set("http.request.method", target.method.clone());
    span.set_if_known("server.address", target.host.clone());
    span.set_if_known("server.port", target.port.map(i64::from));
    span.set_if_known("pounce.key.kind", target.kind);
    let id = response.and_then(|response| response.headers().get("x-amz-request-id"));
    span.set_if_known("aws.request_id", id.map(str::to_owned));
    match response {
        Some(response) => span.answered(response.status().as_u16()),
        None => span.fail("no_answer"),
    }
    span.end();
}

/// What the key at a path is, if the request is for one.
fn kind(path: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 13] = [
        ("/_layers/", "layer_link"),
        ("/_manifests/revisions/", "revision_link"),
        ("/_manifests/tags/", "tag"),
        ("/_manifests/pushed/", "tag"),
        ("/_manifests/referrers/", "referrer"),
        ("/_uploads/", "upload"),
        ("/_pushed/", "push_marker"),
        ("docker/registry/v2/_gc/", "gc"),
        ("docker/registry/v2/_login/", "login"),
        ("docker/registry/v2/blobs/", "blob"),
        ("pounce/fills/", "fill"),
        ("pounce/gc/", "gc"),
        ("pounce/pulled/", "pull_note"),
    ];
    KINDS.iter().find(|(part, _)| path.contains(part)).map(|(_, kind)| *kind)
}
