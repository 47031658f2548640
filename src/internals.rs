//! What is private and yet fuzzed, measured or tested from outside, with the feature `internals`: for `fuzz/`, `benches/`
//! and `tests/`. What is public they call themselves.
//!
//! A fuzz hook takes any input and panics when an invariant is broken.

pub use crate::registry::{Ruled, SurveyRules};

/// Parses `METHOD /path query` as a request, and checks the endpoint's name and scope.
pub fn fuzz_endpoint(text: &str) {
    crate::http::fuzz_endpoint(text);
}

/// Parses an upstream's `WWW-Authenticate`, one header a line.
pub fn fuzz_challenge(text: &str) {
    crate::upstream::fuzz_challenge(text);
}

/// Reads the `_state` of an upload: the bytes as they are, which must be refused, and the bytes with a valid signature.
pub fn fuzz_upload_state(data: &[u8]) {
    crate::registry::fuzz_state(data);
}

/// Reads the lease of a fill: the bytes as they are, and the bytes with a valid signature.
pub fn fuzz_lease(data: &[u8]) {
    crate::registry::fuzz_lease(data);
}

/// Parses a `GET` of a path and a query, and says whether it is an endpoint.
#[must_use]
pub fn parse_endpoint(path: &str, query: Option<&str>) -> bool {
    crate::http::is_endpoint(path, query)
}

/// Composes a line of the access log, in `text`, `combined` or `json`, and returns its length in bytes.
#[must_use]
pub fn access_log_line(format: &str) -> usize {
    crate::telemetry::measured_line(format)
}

/// Signs and verifies the `_state` of an upload with a few parts, and returns its length in bytes.
#[must_use]
pub fn upload_state() -> usize {
    crate::registry::measured_state()
}

/// Surveys a bucket, with these rules in place of retention.
///
/// Returns JSON: `totals`; of each of `repositories` its name, its tags and manifests, and what is its own and shared;
/// `candidates`, each with kind, path below the root directory, size and reason.
///
/// # Errors
/// Why there is no survey.
pub async fn survey(store: &crate::store::Store, rules: &SurveyRules) -> Result<serde_json::Value, String> {
    crate::registry::measured_survey(store, rules).await
}

/// A round of garbage collection with these candidates, in place of a survey: whether each is a link to a blob, or bytes,
/// and its path. Returns what was swept and published, and the requests, as text; or why nothing was done.
///
/// # Errors
/// The lease is lost, or the bucket fails.
pub async fn gc_round(
    store: &crate::store::Store,
    (timing, delay): (crate::config::GcTiming, std::time::Duration),
    is_exclusive: bool,
    candidates: &[(bool, String)],
) -> Result<String, String> {
    crate::registry::gc_round(store, (timing, delay), is_exclusive, candidates).await
}
