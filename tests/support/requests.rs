//! Parts of the requests that a push consists of.

use bytes::Bytes;

/// The query that a location gets for its last request.
pub fn closing(location: &str, digest: &str) -> String {
    let join = if location.contains('?') { '&' } else { '?' };
    format!("{location}{join}digest={digest}")
}

/// A body that comes without a length.
pub fn streamed(pieces: Vec<Bytes>) -> reqwest::Body {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}
