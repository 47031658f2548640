//! Trace contexts in headers (W3C Trace Context).

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_http::HeaderInjector;
use opentelemetry_sdk::propagation::TraceContextPropagator;

const STATE: &str = "tracestate";

/// The most bytes of a client's `tracestate` that are kept and passed on: what W3C Trace Context (section 3.3.1.5)
/// wants to be passed on at least. Every span of the trace has a copy.
const MAX_STATE: usize = 512;

/// Reads the context of a client's request. One that is malformed counts as none.
pub(super) fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Bounded(headers))
}

/// Writes a context into the headers of a request.
pub(super) fn inject(context: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
    // The library writes an empty one where there is none.
    if headers.get(STATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(STATE);
    }
}

struct Bounded<'a>(&'a HeaderMap);

impl Extractor for Bounded<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != STATE || value.len() <= MAX_STATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// The headers of a request to an upstream, for these of a client.
    fn passed_on(headers: &[(&'static str, &str)]) -> HeaderMap {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let mut sent = HeaderMap::new();
        inject(&extract(&headers.collect()), &mut sent);
        sent
    }

    #[test]
    fn a_context_is_passed_on_and_a_malformed_one_is_not() {
        let sent = passed_on(&[("traceparent", PARENT), (STATE, "a=1,b=2")]);
        assert_eq!((&sent["traceparent"], &sent[STATE]), (&PARENT.parse().unwrap(), &"a=1,b=2".parse().unwrap()));
        assert_eq!(passed_on(&[("traceparent", PARENT)]).len(), 1);
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for parent in ["", "00", zero, &PARENT.to_uppercase(), &format!("{PARENT}-x"), &"0".repeat(9000)] {
            assert!(passed_on(&[("traceparent", parent), (STATE, "a=1")]).is_empty(), "{parent}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_dropped() {
        // An entry has at most 256 characters.
        let state = |length: usize| format!("a={},b={}", "x".repeat(254), "x".repeat(length - 259));
        for (length, headers) in [(MAX_STATE - 2, 2), (MAX_STATE, 2), (MAX_STATE + 1, 1)] {
            let state = state(length);
            assert_eq!(state.len(), length);
            assert_eq!(passed_on(&[("traceparent", PARENT), (STATE, &state)]).len(), headers, "{length}");
        }
    }
}
