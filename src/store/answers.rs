//! What each answer of the bucket tells besides its content: the bucket's clock, and whether it takes what is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// What the last answers told, for all clients of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// How many seconds the bucket's clock is ahead of this machine's.
    ahead: AtomicI64,
}

impl Answers {
    /// What the bucket's clock says now, to a second, if it has one that it tells; else this machine's.
    pub(super) fn bucket_time(&self) -> SystemTime {
        let (now, ahead) = (SystemTime::now(), self.0.ahead.load(Ordering::Relaxed));
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

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(ahead) = seconds_ahead(context.response().headers().get("date")) {
            self.0.ahead.store(ahead, Ordering::Relaxed);
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
