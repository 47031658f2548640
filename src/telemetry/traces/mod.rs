//! Traces, sent to an OpenTelemetry collector by OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! A [`Span`] is carried by the future that works for it ([`InScope`]), and not by the spans of the log: the log's
//! lines are the same with traces and without, and the span of a request ends with its response, while a fill that it
//! began goes on. (A span of `tracing` stays open until its last child ends.) Without a collector there are no spans:
//! each place that would begin one looks at one pointer.
//!
//! Spans that ended wait in a queue of `OTEL_BSP_MAX_QUEUE_SIZE`. A thread of the library sends them, and nothing waits
//! for it: a span that finds the queue full is dropped.

mod collector;
mod export;
mod propagation;
mod scope;
mod settings;
mod span;
mod tracer;
mod variables;

pub use collector::Post;
pub use export::{flush, start, try_collector};
pub use scope::{InScope, Scope};
pub use settings::{TraceSettings, Traces};
pub use span::Span;
