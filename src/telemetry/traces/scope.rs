//! What work is for, carried from one task to another.

use futures_util::future::Either;
use opentelemetry::ContextGuard;
use opentelemetry::context::{FutureExt, WithContext};
use tracing::Instrument;
use tracing::instrument::Instrumented;
use tracing::span::Entered;

use super::span::Span;

/// What work is for: the span of the log, whose fields its lines have, and that of the trace.
#[derive(Clone, Debug)]
pub struct Scope {
    log: tracing::Span,
    trace: Span,
}

/// A future in a [`Scope`].
pub type Scoped<F> = Instrumented<Either<WithContext<F>, F>>;

impl Scope {
    /// Of these spans.
    #[must_use]
    pub const fn new(log: tracing::Span, trace: Span) -> Self {
        Self { log, trace }
    }

    /// That of the code that runs.
    #[must_use]
    pub fn current() -> Self {
        Self::new(tracing::Span::current(), Span::current())
    }

    /// Makes it the current one until the result is dropped.
    pub fn enter(&self) -> (Entered<'_>, Option<ContextGuard>) {
        (self.log.enter(), self.trace.attach())
    }
}

/// Futures in scopes.
pub trait InScope: Future + Sized {
    /// Runs it in a scope.
    fn in_scope(self, scope: Scope) -> Scoped<Self> {
        self.in_span(scope.trace).instrument(scope.log)
    }

    /// Runs it in a span of the trace; the log's is that of the code that polls it.
    fn in_span(self, span: Span) -> Either<WithContext<Self>, Self> {
        match span.into_context() {
            Some(context) => Either::Left(self.with_context(context)),
            None => Either::Right(self),
        }
    }

    /// Runs it in the span that is the trace's now. For tasks, which begin without one.
    fn in_current_trace(self) -> Either<WithContext<Self>, Self> {
        self.in_span(Span::current())
    }
}

impl<F: Future> InScope for F {}
