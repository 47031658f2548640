//! Reading responses.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::error::UpstreamError;

pub(super) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether the response is a web page: a login, or that of something in front of the upstream.
pub(super) fn is_html(response: &Response) -> bool {
    header(response, CONTENT_TYPE.as_str())
        .is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// Reads a whole body that must not be larger than `limit` bytes.
pub(super) async fn read_limited(mut response: Response, limit: usize) -> Result<Bytes, UpstreamError> {
    let too_large = || UpstreamError::Invalid(format!("it is larger than {limit} bytes"));
    let length = response.content_length().unwrap_or(0);
    if length > limit as u64 {
        return Err(too_large());
    }
    // A buffer that grows ends up to twice as large as its content. It grows to the limit at most.
    let mut body = BytesMut::with_capacity(usize::try_from(length).unwrap_or(limit));
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Bounds the time of a request, or of one read.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let late = || UpstreamError::Unavailable(format!("it was silent for {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}
