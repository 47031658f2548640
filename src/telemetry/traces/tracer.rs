//! What makes spans.

use std::sync::OnceLock;

use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// Empty without a collector.
pub(super) static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Makes the spans of this process.
#[derive(Debug)]
pub(super) struct Tracer {
    pub(super) sdk: SdkTracer,
    pub(super) provider: SdkTracerProvider,
    /// Contexts are taken from clients, and passed on to upstreams.
    pub(super) propagates: bool,
}
