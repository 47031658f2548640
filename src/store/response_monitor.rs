//! What every response of the bucket tells besides its content: the bucket's clock, whether it takes writes, and how it
//! answers.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::attempt_span::{self, Target};
use crate::telemetry::{Health, Metrics};

/// The status of a store that is full (`MinIO`, and the embedded one).
pub(super) const FULL: u16 = 507;

/// What requests with clients' own keys are in the metrics, in place of S3's names.
const LOGIN: &str = "Login";

/// What looks at responses.
pub(super) trait Observe: fmt::Debug + Send + Sync + 'static {
    /// The bucket answered; `writes`: the request was to write an object.
    fn observe(&self, writes: bool, response: &HttpResponse);

    /// An attempt has ended.
    fn ended(&self, _attempt: &Attempt<'_>, _outcome: Result<u16, String>) {}
}

/// An attempt that has ended: with a status, or without an answer.
pub(super) struct Attempt<'a> {
    /// S3's name.
    operation: &'a str,
    /// For its span.
    target: Option<&'a Target>,
    /// It had a client's own keys.
    is_of_login: bool,
    response: Option<&'a HttpResponse>,
    took: Duration,
}

/// When an attempt was begun.
#[derive(Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

/// Marks a request with a client's own keys: that the bucket refuses these is not how it answers pounce.
#[derive(Debug)]
pub(super) struct OfLogin;

impl Storable for OfLogin {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for OfLogin {
    fn name(&self) -> &'static str {
        "OfLogin"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Self);
        Ok(())
    }
}

/// What was sent. The SDK does not keep it until there is a response.
#[derive(Debug)]
struct Sent {
    writes: bool,
    target: Option<Target>,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

/// Shows responses, also those of attempts that are repeated.
#[derive(Debug)]
pub(super) struct Observer<T>(pub(super) T);

#[dyn_dispatch_hint]
impl<T: Observe> Intercept for Observer<T> {
    fn name(&self) -> &'static str {
        "Observer"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        // A delete of several objects is a POST.
        let writes = matches!(request.method(), "PUT" | "POST") && !request.uri().ends_with("?delete");
        bag.interceptor_state().store_put(Sent { writes, target: Target::of(request) });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = bag.load::<Sent>();
        if let Some(response) = context.response() {
            self.0.observe(sent.is_some_and(|sent| sent.writes), response);
        }
        let error = context.output_or_error().and_then(Result::err);
        let outcome = match (context.response(), error) {
            (Some(response), _) => Ok(response.status().as_u16()),
            (None, Some(error)) if error.is_timeout_error() => Err("it did not answer in time".to_owned()),
            (None, Some(_)) => Err("it could not be reached".to_owned()),
            // A request that is only presigned is not sent.
            (None, None) => return Ok(()),
        };
        let took = bag.load::<Began>().map(|began| began.0.elapsed()).unwrap_or_default();
        let operation = bag.load::<Metadata>().map_or("unknown", Metadata::name);
        let target = sent.and_then(|sent| sent.target.as_ref());
        let is_of_login = bag.load::<OfLogin>().is_some();
        self.0.ended(&Attempt { operation, target, is_of_login, response: context.response(), took }, outcome);
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
    health: Health,
    metrics: OnceLock<Arc<Metrics>>,
}

impl ResponseMonitor {
    /// For a bucket that may be full from the start: a folder.
    pub(super) fn new(may_be_full: bool) -> Self {
        Self(Arc::new(Seen { may_be_full: AtomicBool::new(may_be_full), ..Seen::default() }))
    }

    /// How the bucket answers.
    pub(super) fn health(&self) -> &Health {
        &self.0.health
    }

    /// Counts requests there from now on.
    pub(super) fn count_in(&self, metrics: &Arc<Metrics>) {
        // The first one counts.
        let _ = self.0.metrics.set(Arc::clone(metrics));
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
    fn observe(&self, writes: bool, response: &HttpResponse) {
        if let Some(ahead) = seconds_ahead(response.headers().get("date")) {
            self.0.ahead.store(ahead, Ordering::Relaxed);
        }
        let status = response.status();
        if status.as_u16() == FULL {
            self.0.may_be_full.store(true, Ordering::Relaxed);
        } else if status.is_success() && writes {
            self.0.may_be_full.store(false, Ordering::Relaxed);
        }
    }

    fn ended(&self, attempt: &Attempt<'_>, outcome: Result<u16, String>) {
        let Attempt { operation, target, is_of_login, response, took } = *attempt;
        if let Some(target) = target {
            attempt_span::emit(operation, target, response, took);
        }
        let Seen { health, metrics, .. } = &*self.0;
        let status = outcome.as_ref().ok().copied();
        if let Some(metrics) = metrics.get() {
            metrics.s3_request(if is_of_login { LOGIN } else { operation }, status, took);
        }
        if is_of_login {
            return;
        }
        health.answered(status, took);
        match outcome {
            Ok(status @ 500..) => health.fails(format!("its status is {status}")),
            Ok(_) => health.works(),
            Err(cause) => health.fails(cause),
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
    fn observe(&self, _: bool, response: &HttpResponse) {
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
