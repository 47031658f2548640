//! A span of a trace.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, ContextGuard, KeyValue, Value};

use super::propagation::{extract, inject};
use super::tracer::{TRACER, Tracer};

/// A span of a trace, by the semantic conventions of OpenTelemetry; nothing without a collector. It is sent when it
/// ends, at the latest when its last clone is dropped.
///
/// No attribute has a secret: no query of a URL, no header, no body.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// No span.
    pub const NONE: Self = Self(None);

    /// That of the code that runs.
    #[must_use]
    pub fn current() -> Self {
        match TRACER.get() {
            Some(_) => Self(Context::map_current(|current| current.has_active_span().then(|| current.clone()))),
            None => Self::NONE,
        }
    }

    /// Begins the span of a client's request. Its parent is the context in the headers, if there is one; the sampler
    /// decides whether it is sent.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::NONE;
        };
        let parent = if tracer.propagates { extract(headers) } else { Context::new() };
        Self::begin(tracer, "request", SpanKind::Server, Duration::ZERO, &parent)
    }

    /// Begins the first span of a trace: of what this process does by itself.
    #[must_use]
    pub fn root(name: &'static str) -> Self {
        let begin = |tracer| Self::begin(tracer, name, SpanKind::Internal, Duration::ZERO, &Context::new());
        TRACER.get().map_or(Self::NONE, begin)
    }

    /// Begins a part of the current span; nothing without one.
    #[must_use]
    pub fn part(name: &'static str) -> Self {
        Self::child(name, SpanKind::Internal, Duration::ZERO)
    }

    /// Begins the span of a request to another server.
    #[must_use]
    pub fn client(name: impl Into<Cow<'static, str>>) -> Self {
        Self::child(name, SpanKind::Client, Duration::ZERO)
    }

    /// [`client`](Self::client), of a request that began so long ago.
    #[must_use]
    pub fn client_since(name: impl Into<Cow<'static, str>>, ago: Duration) -> Self {
        Self::child(name, SpanKind::Client, ago)
    }

    fn child(name: impl Into<Cow<'static, str>>, kind: SpanKind, ago: Duration) -> Self {
        let (Some(tracer), Some(parent)) = (TRACER.get(), Self::current().0) else {
            return Self::NONE;
        };
        if !parent.span().span_context().is_sampled() {
            // None of its parts is sent. Upstreams still learn that it is not.
            return Self(Some(parent));
        }
        Self::begin(tracer, name, kind, ago, &parent)
    }

    fn begin(
        Tracer { sdk, .. }: &Tracer,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        ago: Duration,
        parent: &Context,
    ) -> Self {
        let began = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        let builder = sdk.span_builder(name).with_kind(kind).with_start_time(began);
        let span = sdk.build_with_context(builder, parent);
        Self(Some(parent.with_span(span)))
    }

    /// Whether attributes of it are sent; to be asked before they are made.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// Sets an attribute. A later value replaces an earlier one.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Sets an attribute that may be unknown.
    pub fn set_if_known(&self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Replaces its name.
    pub fn rename(&self, name: String) {
        if let Some(context) = &self.0 {
            context.span().update_name(name);
        }
    }

    /// What it was for failed; `error_type` is one of few words.
    pub fn fail(&self, error_type: impl Into<Value>) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("error.type", error_type));
            span.set_status(Status::error(""));
        }
    }

    /// The server answered with this status. Of those above 399, the ones with which registries and buckets say how to
    /// go on, or that there is no such thing, are no errors: 401, 404 and 412.
    pub fn answered(&self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
        if status >= 400 && !matches!(status, 401 | 404 | 412) {
            self.fail(status.to_string());
        }
    }

    /// Ties it to another one, perhaps of another trace.
    pub fn link(&self, other: &Self) {
        if let (Some(context), Some(other)) = (&self.0, &other.0) {
            let other = other.span().span_context().clone();
            if other.is_sampled() && other != *context.span().span_context() {
                context.span().add_link(other, Vec::new());
            }
        }
    }

    /// Writes the context into the headers of a request, unless contexts are not passed on.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.0
            && TRACER.get().is_some_and(|tracer| tracer.propagates)
        {
            inject(context, headers);
        }
    }

    /// Ends it now. Later calls change nothing.
    pub fn end(&self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    pub(super) fn attach(&self) -> Option<ContextGuard> {
        self.0.clone().map(Context::attach)
    }

    pub(super) fn into_context(self) -> Option<Context> {
        self.0
    }
}
