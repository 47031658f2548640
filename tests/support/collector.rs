//! A collector of traces, which takes OTLP over HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;

use super::receiver::Receiver;

/// A span that was received.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    /// `Server`, `Client` or `Internal`.
    pub kind: String,
    pub trace: String,
    pub id: String,
    /// Empty without a parent.
    pub parent: String,
    /// The ids of spans that it has links to.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub is_error: bool,
    /// Of the process.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute; empty if it has none of this name.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map(String::as_str).unwrap_or_default()
    }
}

pub struct Collector(pub Receiver);

impl Collector {
    pub(crate) async fn start() -> Self {
        Self(Receiver::start().await)
    }

    /// Variables for a pounce that sends its traces there at once.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [("OTEL_EXPORTER_OTLP_ENDPOINT", self.0.url("")), ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned())]
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let posted = self.0.posted();
        posted.iter().flat_map(|posted| read(&ExportTraceServiceRequest::decode(&posted.body[..]).unwrap())).collect()
    }

    /// Waits until the spans are `enough`.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let began = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(began.elapsed() < Duration::from_secs(20), "never {what}: {names:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn read(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let of_process = |spans: &otlp::ResourceSpans| {
        let resource = spans.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
        let spans = spans.scope_spans.iter().flat_map(|scope| scope.spans.clone());
        spans.map(|span| of_span(span, resource.clone())).collect::<Vec<_>>()
    };
    request.resource_spans.iter().flat_map(of_process).collect()
}

fn of_span(span: otlp::Span, resource: BTreeMap<String, String>) -> Span {
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    assert!(span.events.is_empty() && span.dropped_attributes_count == 0, "{span:?}");
    Span {
        kind: format!("{:?}", span.kind()),
        is_error: span.status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
        name: span.name,
        trace: const_hex::encode(span.trace_id),
        id: const_hex::encode(span.span_id),
        parent: const_hex::encode(span.parent_span_id),
        links: span.links.into_iter().map(|link| const_hex::encode(link.span_id)).collect(),
        attributes: attributes(&span.attributes),
        resource,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map(text).unwrap_or_default())).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}
