//! Parts of a push's requests.

use bytes::Bytes;

/// Adds the digest to the query of a location, for the last request.
pub fn closing(location: &str, digest: &str) -> String {
    let join = if location.contains('?') { '&' } else { '?' };
    format!("{location}{join}digest={digest}")
}

/// A body without a length.
pub fn streamed(pieces: Vec<Bytes>) -> reqwest::Body {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}
