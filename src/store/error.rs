//! The SDK's errors, translated once.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::error::metadata::ErrorMetadata;

use super::response_monitor::{FULL, seconds_ahead};
use crate::telemetry::causes;

/// The skew of clocks from which it explains a refusal: S3 allows 15 minutes, and some stores a little less.
const SKEW: Duration = Duration::from_mins(10);

/// Why an operation failed. That an object is not there is no error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The credentials do not allow it.
    #[error("{operation} was refused by the bucket: {cause}")]
    Denied {
        /// The S3 operation.
        operation: &'static str,
        /// The cause, by the bucket or the SDK.
        cause: String,
    },
    /// Signatures are refused because of this machine's clock; the credentials may be valid.
    #[error("{operation} was refused by the bucket: {}", describe_clock(*.ahead))]
    Clock {
        /// The S3 operation.
        operation: &'static str,
        /// How many seconds the bucket's clock is ahead of this machine's, if it tells.
        ahead: Option<i64>,
    },
    /// The storage is full or read-only. A retry does not help.
    #[error(
        "{operation} was not done, the storage takes no writes, make room in storage.s3 or storage.filesystem: {cause}"
    )]
    Full {
        /// The S3 operation.
        operation: &'static str,
        /// The cause, by the bucket or the SDK.
        cause: String,
    },
    /// The bucket did not answer, or failed, in every attempt.
    #[error("{operation} failed: {cause}")]
    Unavailable {
        /// The S3 operation.
        operation: &'static str,
        /// The cause, by the bucket or the SDK.
        cause: String,
    },
    /// An object is not what pounce writes there.
    #[error("{key} holds something unexpected: {cause}")]
    Corrupt {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Translates an SDK error; `None` is "not there".
pub(super) fn translate<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Option<StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().map(ProvideErrorMetadata::meta).and_then(ErrorMetadata::code);
    if matches!(code, Some("NoSuchKey" | "NotFound" | "NoSuchUpload")) || (status == Some(404) && code.is_none()) {
        return None;
    }
    let cause = describe(error);
    let date = error.raw_response().map(HttpResponse::headers);
    let ahead = date.and_then(|headers| seconds_ahead(headers.get("date")));
    let is_apart = ahead.is_some_and(|ahead| ahead.unsigned_abs() >= SKEW.as_secs());
    Some(match (status, code) {
        (_, Some("RequestTimeTooSkewed")) => StoreError::Clock { operation, ahead },
        // An error with a code has another cause.
        (Some(400 | 401 | 403), None) if is_apart => StoreError::Clock { operation, ahead },
        (Some(FULL), _) | (_, Some("QuotaExceeded")) => StoreError::Full { operation, cause },
        (Some(401 | 403), _) => StoreError::Denied { operation, cause },
        _ => StoreError::Unavailable { operation, cause },
    })
}

/// The bucket is in another region than the one that a request is signed for.
pub(super) struct OtherRegion {
    /// In which, if the bucket tells.
    pub(super) told: Option<String>,
}

/// What the response to a HEAD tells of the region: 301 and 307 of AWS, and the 400 of stores that check the region
/// first (Garage).
pub(super) fn other_region<E>(error: &SdkError<E, HttpResponse>) -> Option<OtherRegion> {
    let response = error.raw_response()?;
    let told = response.headers().get("x-amz-bucket-region");
    let elsewhere = matches!(response.status().as_u16(), 301 | 307 | 400);
    let told = told.map(str::to_owned);
    elsewhere.then_some(OtherRegion { told })
}

/// The bucket's own message, or else the SDK's.
fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
    match meta.map(|meta| (meta.code(), meta.message())) {
        Some((Some(code), Some(message))) => format!("it answered {code}: {message}"),
        Some((Some(code), None)) => format!("it answered {code}"),
        // The response to a HEAD has no code, and the SDK's message for it says nothing.
        Some(_) => {
            error.raw_response().map_or_else(|| causes(error), |response| format!("it answered {}", response.status()))
        }
        None => causes(error),
    }
}

/// How wrong this machine's clock is.
pub(super) fn describe_clock(ahead: Option<i64>) -> String {
    let Some(ahead) = ahead.filter(|ahead| ahead.unsigned_abs() >= 60) else {
        return "this machine's clock and the bucket's are too far apart".to_owned();
    };
    let minutes = (ahead.unsigned_abs() + 30) / 60;
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {minutes} minutes {side} the bucket's")
}

/// Why a request with a condition was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The condition does not hold, or another such request is under way.
    Unmet,
    /// The store does not support it.
    Unknown,
}

/// Why the condition was refused, if the error is about the condition.
pub(super) fn refusal<E>(error: &SdkError<E, HttpResponse>) -> Option<Refusal>
where
    E: ProvideErrorMetadata,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    match (status, code) {
        (Some(412), _) | (_, Some("PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted")) => {
            Some(Refusal::Unmet)
        }
        // The store may refuse the condition's header because it does not know it. The caller repeats the request
        // without the condition; if the reason was another, that fails, too.
        (Some(501), _)
        | (_, Some("NotImplemented"))
        | (Some(400 | 405), Some("InvalidArgument" | "InvalidRequest" | "MethodNotAllowed")) => Some(Refusal::Unknown),
        _ => None,
    }
}

/// The response of an operation; `None` is "not there".
pub(super) fn found<T, E>(
    operation: &'static str,
    response: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Option<T>, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match response {
        Ok(response) => Ok(Some(response)),
        Err(error) => translate(operation, &error).map_or(Ok(None), Err),
    }
}

/// [`translate`] for operations to which "not there" is a failure like any other.
pub(super) fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    translate(operation, error).unwrap_or_else(|| StoreError::Unavailable { operation, cause: describe(error) })
}
