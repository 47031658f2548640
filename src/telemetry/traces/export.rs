//! Sends spans to the collector.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

use super::collector::{Collector, Post, Reporting};
use super::settings::TraceSettings;
use super::tracer::{TRACER, Tracer};

/// How long the last spans may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends spans from now on, by `post`, which makes one request to the collector. For a process that serves; later calls
/// change nothing.
///
/// # Errors
/// The exporter cannot be made of the variables, and why.
pub fn start(settings: &TraceSettings, post: Post) -> Result<(), String> {
    let collector = Collector::new(post);
    let exporter = exporter(settings, &collector, RetryPolicy::default())?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(settings.queue)
        .with_max_export_batch_size(settings.batch)
        .with_scheduled_delay(settings.delay)
        .build();
    let exporter = Reporting::new(exporter, collector, settings.origin());
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(settings.sampler.clone())
        .with_span_processor(processor)
        .build();
    let sdk = provider.tracer("pounce");
    let propagates = settings.propagates;
    // A process has one collector.
    let _ = TRACER.set(Tracer { sdk, provider, propagates });
    Ok(())
}

/// Sends a request without spans, as spans are sent.
///
/// # Errors
/// The collector does not take it, and why.
pub async fn try_collector(settings: &TraceSettings, post: Post) -> Result<(), String> {
    let collector = Collector::new(post);
    let exporter = exporter(settings, &collector, RetryPolicy::disabled())?;
    opentelemetry_sdk::trace::SpanExporter::export(&exporter, Vec::new()).await.map_err(|_| collector.failure())
}

/// # Errors
/// There can be none, and why.
fn exporter(settings: &TraceSettings, collector: &Collector, retries: RetryPolicy) -> Result<SpanExporter, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector.clone())
        .with_endpoint(settings.endpoint.as_str())
        .with_timeout(settings.timeout)
        .with_retry_policy(retries)
        .build();
    exporter.map_err(|error| error.to_string())
}

/// Sends the spans that wait, for at most [`FLUSH_TIMEOUT`]. No more are sent afterwards.
pub async fn flush() {
    let Some(Tracer { provider, .. }) = TRACER.get() else {
        return;
    };
    // It waits for the library's thread.
    let shutdown = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    if !matches!(shutdown.await, Ok(Ok(()))) {
        let seconds = FLUSH_TIMEOUT.as_secs();
        tracing::warn!(seconds, "traces: the collector did not take the last spans in time");
    }
}

/// The attributes that all spans of this process have in common: those of the environment, and pounce's name and version,
/// unless the environment names them.
fn resource() -> Resource {
    const NAME: &str = "service.name";
    let given = Resource::builder().build();
    let has = |key: &'static str| given.get(&key.into()).is_some();
    // The library's default.
    let is_named = given.get(&NAME.into()).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut ours = Vec::new();
    if !is_named {
        ours.push(KeyValue::new(NAME, "pounce"));
    }
    if !has("service.version") {
        ours.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if !has("service.instance.id") {
        ours.push(KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()));
    }
    Resource::builder().with_attributes(ours).build()
}
