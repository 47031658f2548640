//! From the store's and the upstream's errors to what the client is told.

use std::time::Duration;

use tokio::task::JoinError;

use crate::oci::{Error, ErrorCode};
use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// For a client of an upstream that limits requests without a `Retry-After`.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The bucket failed: `UNAVAILABLE`.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let message = match &error {
            StoreError::Full { .. } => {
                "the registry's storage is full, or may not be written to: its operator has to make room"
            }
            _ => "the registry's storage is not available, try again later",
        };
        Self::new(ErrorCode::Unavailable, message).caused_by(error)
    }
}

/// A task panicked: `UNAVAILABLE`.
impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        Self::new(ErrorCode::Unavailable, "the registry failed, try again later").caused_by(error)
    }
}

/// The upstream did not give what it was asked for; `unknown` is the error for content that it does not have.
///
/// An upstream that is away or limits requests is never taken for one that has nothing. One that refuses an anonymous
/// pounce is, because Docker Hub answers this way for repositories that do not exist. A 404 that no registry sent hides
/// nothing that is stored, because it counts as an outage there; what is not stored is told as missing.
pub(super) fn of_upstream(error: UpstreamError, unknown: Error) -> Error {
    match &error {
        UpstreamError::NotFound => unknown,
        UpstreamError::Denied { anonymous: true, .. } | UpstreamError::Unrecognized(_) => unknown.caused_by(error),
        UpstreamError::Denied { .. } => {
            let message = "the upstream registry does not let this registry read the repository: its operator has to \
                           check its credentials there (proxy)";
            Error::new(ErrorCode::Denied, message).caused_by(error)
        }
        UpstreamError::NotAdmitted => {
            let message = "this registry does not take this image from its upstream: its operator can allow it \
                           (proxy.allow, proxy.deny)";
            Error::new(ErrorCode::Denied, message)
        }
        UpstreamError::TooManyRequests { retry_after } => {
            let after = retry_after.unwrap_or(RETRY_AFTER);
            let message = "the upstream registry limits the requests of this registry: try again later, or give this \
                           registry credentials there (proxy.username)";
            Error::new(ErrorCode::TooManyRequests, message).with_retry_after(Some(after)).caused_by(error)
        }
        UpstreamError::Unavailable(_) => {
            Error::new(ErrorCode::Unavailable, "the upstream registry is not available, try again later")
                .caused_by(error)
        }
        // As distribution answers for such a manifest.
        UpstreamError::Unsupported(_) => Error::new(
            ErrorCode::ManifestInvalid,
            "this is a manifest of schema 1, which this registry does not support by digest: pull it by tag, or \
             have the image pushed anew",
        )
        .caused_by(error),
        UpstreamError::Invalid(_) => {
            Error::new(ErrorCode::Unavailable, "the upstream registry's answer is not valid").caused_by(error)
        }
    }
}
