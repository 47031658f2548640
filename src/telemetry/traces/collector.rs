//! The collector that spans are sent to.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::log_limit::LogLimit;

/// How often the log says that spans are lost.
const PAUSE: Duration = Duration::from_mins(1);

/// Posts headers and a body to the collector; returns the status. Its error is the cause, without secrets.
pub type Post = Arc<dyn Fn(HeaderMap, Bytes) -> BoxFuture<'static, Result<u16, String>> + Send + Sync>;

/// The client of the library, whose thread is none of the runtime's.
#[derive(Clone)]
pub(super) struct Collector {
    post: Post,
    runtime: Handle,
    /// Why the last request failed.
    failure: Arc<Mutex<String>>,
}

impl Collector {
    /// Requests are made on the runtime of the caller.
    pub(super) fn new(post: Post) -> Self {
        Self { post, runtime: Handle::current(), failure: Arc::default() }
    }

    pub(super) fn failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (sender, answer) = oneshot::channel();
        let posting = (self.post)(parts.headers, body);
        self.runtime.spawn(async move {
            // The library's thread may have given up.
            let _ = sender.send(posting.await);
        });
        let answered = answer.await.unwrap_or_else(|_| Err("the process ends".to_owned()));
        let failure = match &answered {
            Ok(200..=299) => String::new(),
            Ok(status) => format!("it answered {status}"),
            Err(cause) => cause.clone(),
        };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answered?.try_into()?;
        Ok(response)
    }
}

/// Says now and then that spans are lost.
#[derive(Debug)]
pub(super) struct Reporting<E> {
    exporter: E,
    collector: Collector,
    /// The collector in the log.
    origin: String,
    limit: LogLimit<()>,
    /// Since the log said it last.
    lost: AtomicUsize,
}

impl<E> Reporting<E> {
    pub(super) fn new(exporter: E, collector: Collector, origin: String) -> Self {
        Self { exporter, collector, origin, limit: LogLimit::new(PAUSE, 1), lost: AtomicUsize::new(0) }
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let exported = self.exporter.export(batch).await;
        if exported.is_err() {
            let spans = self.lost.fetch_add(count, Ordering::Relaxed) + count;
            if self.limit.is_due(()) {
                self.lost.store(0, Ordering::Relaxed);
                let (collector, cause) = (&self.origin, self.collector.failure());
                tracing::warn!(collector, cause, spans, "traces: the collector did not take spans, which are lost");
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
