//! Headers and responses that several resources share.

use std::cell::Cell;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use crate::oci::{Digest, MediaType};
use crate::registry::Staleness;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The value of a text that is visible ASCII: a digest, a media type, an escaped URL.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// The same, without a copy.
pub(super) fn owned(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

pub(super) fn digest(digest: &Digest) -> HeaderValue {
    value(digest.text().as_str())
}

/// The `ETag` of the content with this digest.
pub(super) fn etag(digest: &Digest) -> HeaderValue {
    let digest = digest.text();
    let mut text = String::with_capacity(digest.as_str().len() + 2);
    text.extend(["\"", digest.as_str(), "\""]);
    owned(text)
}

/// The most names and the most values that a recycled map has: each thread keeps one map, of some 5 KB at most.
const MAX_RECYCLED: usize = 32;

thread_local! {
    static RECYCLED: Cell<Option<HeaderMap>> = const { Cell::new(None) };
}

/// Keeps the map of a request that was answered, for this thread's next response: two allocations less, and 2 % of a
/// redirect's instructions.
pub(super) fn recycle(mut headers: HeaderMap) {
    // `capacity` counts names only; `len` counts all values of a name, for which `clear` keeps the memory, too.
    if headers.capacity() <= MAX_RECYCLED && headers.len() <= MAX_RECYCLED {
        headers.clear();
        RECYCLED.set(Some(headers));
    }
}

/// A response with these fields, and capacity for those that every response gets, because a map that grows is built
/// twice.
pub(super) fn response<const N: usize>(
    status: StatusCode,
    fields: [(HeaderName, HeaderValue); N],
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut headers = RECYCLED.take().unwrap_or_default();
    headers.reserve(N + 3);
    for (name, value) in fields {
        headers.insert(name, value);
    }
    *response.headers_mut() = headers;
    response
}

pub(super) fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}

/// A value of texts and numbers, which always serialize, as JSON.
pub(super) fn serialized(value: &impl Serialize) -> Response {
    json(serde_json::to_vec(value).unwrap_or_default())
}

/// A `Link` to the next page of the list at `path` (RFC 8288).
pub(super) fn next_page(path: &str, query: &[(&str, &str)]) -> HeaderValue {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    value(&format!("<{path}?{query}>; rel=\"next\""))
}

/// Tells caches that a response is stale (RFC 7234, section 5.5.1), and people why (the distribution spec, "Warnings").
/// These are two lines, because containerd reads a line as one warning, and shows it if it is `299 - "..."` from its
/// beginning to its end. The text is ASCII without quotes, backslashes and percent signs, which have a meaning there,
/// and is far shorter than the 4096 bytes that are allowed.
pub(super) fn warn(headers: &mut HeaderMap, text: &str) {
    const STALE: HeaderValue = HeaderValue::from_static("110 - \"Response is Stale\"");
    headers.append(header::WARNING, STALE);
    headers.append(header::WARNING, owned(format!("299 - \"{text}\"")));
}

/// Warns that a list may not be complete, if `why` tells a reason.
pub(super) fn warn_of_list(headers: &mut HeaderMap, list: &str, why: Option<Staleness>) {
    if let Some(why) = why {
        let why = reason(why);
        warn(headers, &format!("{list} may be missing: the upstream registry {why}, so these are the stored ones"));
    }
}

/// Why the upstream did not answer, in words that follow its name.
pub(super) const fn reason(why: Staleness) -> &'static str {
    match why {
        Staleness::Away => "is not available",
        Staleness::Slow => "takes too long to answer",
        Staleness::Refused => "does not let this registry read the repository",
    }
}

/// The entries of every `Accept` line. Clients send several lines; a registry ignores order and weights.
fn accept_texts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(','))
}

/// Every media type that a client accepts. A wildcard names no type, but accepts an index.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<MediaType> {
    /// In characters: more than any client needs. Upstreams refuse long headers, and one client must not make a tag
    /// fail for all.
    const MAX_LENGTH: usize = 1024;
    let mut left = MAX_LENGTH;
    let named = accept_texts(headers).filter_map(|text| match text {
        text if text.contains('*') => Some(MediaType::OCI_INDEX),
        text => text.parse().ok(),
    });
    named
        .filter(|media_type: &MediaType| {
            let length = media_type.as_str().len();
            // The upstream is asked for these in any case.
            let fits = MediaType::MANIFESTS.contains(media_type) || length < left;
            left = left.saturating_sub(length + 2);
            fits
        })
        .collect()
}

/// Whether a client accepts image manifests, and no index. The fast path calls it, so it allocates nothing.
pub(super) fn accepts_only_images(headers: &HeaderMap) -> bool {
    let mut named = false;
    for text in accept_texts(headers) {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |media_type: &MediaType| media_type.as_str().eq_ignore_ascii_case(essence);
        if text.contains('*') || MediaType::INDEXES.iter().any(is) {
            return false;
        }
        named |= MediaType::IMAGES.iter().any(is);
    }
    named
}

/// Whether a range is of the content that the client means: there is no `If-Range`, or it has this content's `ETag`
/// (RFC 9110, section 13.1.5). A date never fits, because no response says when the content was modified.
pub(super) fn if_range(headers: &HeaderMap, digest: &Digest) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|value| *value == etag(digest))
}

/// Whether the client has the content with this digest already.
pub(super) fn if_none_match(headers: &HeaderMap, digest: &Digest) -> bool {
    let digest = digest.text();
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|text| {
        let text = text.trim();
        text == "*" || text.trim_start_matches("W/").trim_matches('"') == digest.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_many_values_of_one_name_is_not_recycled() {
        for (values, is_kept) in [(MAX_RECYCLED, true), (MAX_RECYCLED + 1, false), (900, false)] {
            let mut headers = HeaderMap::new();
            for _ in 0..values {
                headers.append(header::ACCEPT, HeaderValue::from_static("*/*"));
            }
            assert!(headers.capacity() <= MAX_RECYCLED);
            recycle(headers);
            let recycled = RECYCLED.take();
            assert!(recycled.is_some() == is_kept && recycled.is_none_or(|kept| kept.is_empty()), "{values}");
        }
    }
}
