//! What every response of the bucket tells besides its content: the bucket's clock, and whether it takes writes.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// The status of a store that is full (`MinIO`, and the embedded one).
pub(super) const FULL: u16 = 507;

/// What looks at responses.
pub(super) trait Observe: fmt::Debug + Send + Sync + 'static {
    /// The bucket answered.
    fn observe(&self, request: Option<&HttpRequest>, response: &HttpResponse);
}

/// Shows responses, also those of attempts that are repeated.
#[derive(Debug)]
pub(super) struct Observer<T>(pub(super) T);

#[dyn_dispatch_hint]
impl<T: Observe> Intercept for Observer<T> {
    fn name(&self) -> &'static str {
        "Observer"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(response) = context.response() {
            self.0.observe(context.request(), response);
        }
        Ok(())
    }
}

/// Watches the responses to all clients of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct ResponseMonitor(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// How many seconds the bucket's clock is ahead of this machine's.
    ahead: AtomicI64,
    /// The last write found the bucket full, or a folder was not written to yet.
    may_be_full: AtomicBool,
}

impl ResponseMonitor {
    /// For a bucket that may be full from the start: a folder.
    pub(super) fn new(may_be_full: bool) -> Self {
        Self(Arc::new(Seen { may_be_full: AtomicBool::new(may_be_full), ..Seen::default() }))
    }

    /// Whether the bucket may take no writes, by its last response to one.
    pub(super) fn may_be_full(&self) -> bool {
        self.0.may_be_full.load(Ordering::Relaxed)
    }

    /// How far the bucket's clock is ahead of this machine's, in seconds; 0 if the bucket does not tell.
    pub(super) fn seconds_ahead(&self) -> i64 {
        self.0.ahead.load(Ordering::Relaxed)
    }

    /// The time by the bucket's clock, to a second, if the bucket tells; else by this machine's.
    pub(super) fn bucket_time(&self) -> SystemTime {
        let (now, ahead) = (SystemTime::now(), self.seconds_ahead());
        let by = Duration::from_secs(ahead.unsigned_abs());
        let there = match ahead {
            0.. => now.checked_add(by),
            _ => now.checked_sub(by),
        };
        there.unwrap_or(now)
    }
}

impl Observe for ResponseMonitor {
    fn observe(&self, request: Option<&HttpRequest>, response: &HttpResponse) {
        if let Some(ahead) = seconds_ahead(response.headers().get("date")) {
            self.0.ahead.store(ahead, Ordering::Relaxed);
        }
        let status = response.status();
        let writes = request.is_some_and(|request| {
            // A delete of several objects is a POST.
            matches!(request.method(), "PUT" | "POST") && !request.uri().ends_with("?delete")
        });
        if status.as_u16() == FULL {
            self.0.may_be_full.store(true, Ordering::Relaxed);
        } else if status.is_success() && writes {
            self.0.may_be_full.store(false, Ordering::Relaxed);
        }
    }
}

/// Reads the `Date` of the response to one request, which the SDK's output does not have.
#[derive(Clone, Debug, Default)]
pub(super) struct ResponseDate(Arc<Mutex<Option<SystemTime>>>);

impl ResponseDate {
    /// That of the last response.
    pub(super) fn get(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for ResponseDate {
    fn observe(&self, _: Option<&HttpRequest>, response: &HttpResponse) {
        let date = time(response.headers().get("date"));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
    }
}

/// How many seconds a server's clock is ahead of this machine's, by the `Date` of its response.
pub(super) fn seconds_ahead(date: Option<&str>) -> Option<i64> {
    let there = time(date)?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).ok();
    match there.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|seconds| -seconds),
    }
}

/// The time that a `Date` says.
fn time(date: Option<&str>) -> Option<SystemTime> {
    httpdate::parse_http_date(date?).ok()
}
