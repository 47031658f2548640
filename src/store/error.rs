//! The SDK's errors, translated once.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::error::metadata::ErrorMetadata;

use crate::telemetry::causes;

/// Why the bucket did not do what was asked. That an object is not there is not among them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The credentials do not allow it.
    #[error("{operation} was refused by the bucket: {cause}")]
    Denied {
        /// The S3 operation.
        operation: &'static str,
        /// What the SDK says.
        cause: String,
    },
    /// The bucket could not be reached, or failed; every attempt was used up.
    #[error("{operation} failed: {cause}")]
    Unavailable {
        /// The S3 operation.
        operation: &'static str,
        /// What the SDK says.
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
pub(super) fn translate<E>(
    operation: &'static str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Option<StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let code = error
        .as_service_error()
        .map(ProvideErrorMetadata::meta)
        .and_then(ErrorMetadata::code);
    if matches!(code, Some("NoSuchKey" | "NotFound" | "NoSuchUpload"))
        || (status == Some(404) && code.is_none())
    {
        return None;
    }
    let cause = causes(error);
    Some(if status == Some(403) {
        StoreError::Denied { operation, cause }
    } else {
        StoreError::Unavailable { operation, cause }
    })
}

/// Why a request with a condition was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The condition does not hold, or another such request is under way.
    Unmet,
    /// The store does not know it.
    Unknown,
}

/// What an SDK error says of a request's condition, if it is about that.
pub(super) fn refusal<E>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Option<Refusal>
where
    E: ProvideErrorMetadata,
{
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    match (status, code) {
        (Some(412), _)
        | (_, Some("PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted")) => {
            Some(Refusal::Unmet)
        }
        (Some(501), _) | (_, Some("NotImplemented")) => Some(Refusal::Unknown),
        _ => None,
    }
}

/// [`translate`] for operations to which "not there" is a failure like any other.
pub(super) fn failure<E>(
    operation: &'static str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    translate(operation, error).unwrap_or_else(|| StoreError::Unavailable {
        operation,
        cause: causes(error),
    })
}
