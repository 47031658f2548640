//! What `fuzz/` tries and `benches/micro` measures, with the feature `internals`: everything that reads what others
//! wrote, and that nobody outside needs otherwise.
//!
//! Most take any bytes, and panic if what comes of them is not as it should be.

#![expect(clippy::missing_panics_doc, reason = "that is how a fuzzer is told")]

use crate::config::{Config, Environment};
use crate::oci::{ChunkRange, Digest, Manifest, RangeRequest};

/// `METHOD /path query`
pub fn endpoint(text: &str) {
    crate::http::fuzz_endpoint(text);
}

/// Parses `GET`, a path and a query, as every request is; whether it is an endpoint.
#[must_use]
pub fn parse_endpoint(path: &str, query: Option<&str>) -> bool {
    crate::http::is_endpoint(path, query)
}

/// Makes the `_state` of an upload that has a few parts, and reads it; how long it is.
#[must_use]
pub fn upload_state() -> usize {
    crate::registry::measured_state()
}

/// A digest that is one is written as it was read.
pub fn digest(text: &str) {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex().len(), 2 * digest.algorithm().size());
    }
}

/// What a range resolves to lies within the blob.
pub fn range(size: u64, text: &str) {
    if let Ok(Some(slice)) = RangeRequest::parse(text).resolve(size) {
        assert!(slice.start < slice.end && slice.end <= size);
    }
    let _ = ChunkRange::parse(text);
}

/// A `WWW-Authenticate` of an upstream.
pub fn challenge(text: &str) {
    crate::upstream::fuzz_challenge(text);
}

/// The `_state` of an upload.
pub fn state(data: &[u8]) {
    crate::registry::fuzz_state(data);
}

/// A manifest that is pushed.
pub fn manifest(media_type: Option<&str>, bytes: &[u8]) {
    let media_type = media_type.and_then(|text| text.parse().ok());
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(manifest) = Manifest::pushed(&bytes, media_type, None) {
        let _ = (manifest.links(), manifest.referrer());
        let digest = manifest.digest();
        assert_eq!(digest, Digest::of(digest.algorithm(), &bytes));
    }
}

/// A file and a variable.
pub fn configuration(text: &str) {
    let (file, variable) = text.split_once('\0').unwrap_or((text, "="));
    let (name, value) = variable.split_once('=').unwrap_or_default();
    let environment = Environment::from_iter([(format!("REGISTRY_{name}"), value)]);
    if let Ok(loaded) = Config::parse(file, &environment) {
        let _ = loaded.settings();
    }
}
