//! What each answer of the bucket tells besides its content: the bucket's clock, and whether it takes what is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// The status with which a store says that there is no room (`MinIO`, and the embedded one).
pub(super) const FULL: u16 = 507;

/// What the last answers told, for all clients of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// How many seconds the bucket's clock is ahead of this machine's.
    ahead: AtomicI64,
    /// The last write found no room, or a folder was not written to yet.
    is_in_doubt: AtomicBool,
}

impl Answers {
    /// Those of a bucket that may be full from the beginning: a folder.
    pub(super) fn in_doubt() -> Self {
        let answers = Self::default();
        answers.0.is_in_doubt.store(true, Ordering::Relaxed);
        answers
    }

    /// Whether the bucket may take no writes, as its last answer to one tells.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.is_in_doubt.load(Ordering::Relaxed)
    }

    /// How far the bucket's clock is ahead of this machine's, in seconds; 0 where it does not tell.
    pub(super) fn seconds_ahead(&self) -> i64 {
        self.0.ahead.load(Ordering::Relaxed)
    }

    /// What the bucket's clock says now, to a second, if it has one that it tells; else this machine's.
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

#[dyn_dispatch_hint]
impl Intercept for Answers {
    fn name(&self) -> &'static str {
        "Answers"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response() else {
            return Ok(());
        };
        if let Some(ahead) = seconds_ahead(response.headers().get("date")) {
            self.0.ahead.store(ahead, Ordering::Relaxed);
        }
        let status = response.status();
        let method = context.request().map(HttpRequest::method);
        if status.as_u16() == FULL {
            self.0.is_in_doubt.store(true, Ordering::Relaxed);
        } else if status.is_success() && matches!(method, Some("PUT" | "POST")) {
            self.0.is_in_doubt.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How many seconds a server's clock is ahead of this machine's, by the `Date` of its answer.
pub(super) fn seconds_ahead(date: Option<&str>) -> Option<i64> {
    let there = httpdate::parse_http_date(date?).ok()?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).ok();
    match there.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|seconds| -seconds),
    }
}
