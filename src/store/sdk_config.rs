//! How the SDK is configured, whatever the bucket.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, RequestChecksumCalculation, ResponseChecksumValidation};

use super::content_length::ContentLength;
use super::proxy;

/// The settings that all clients share. Checksums only where S3 demands them: otherwise the SDK sends `aws-chunked`
/// bodies, which Tigris may store as the object's Content-Encoding.
pub(super) fn base() -> Builder {
    let mut builder = aws_sdk_s3::Config::builder();
    builder.set_http_client(proxy::client());
    builder
        .behavior_version(BehaviorVersion::latest())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(ContentLength)
        // Exponential backoff with jitter, for 5xx, SlowDown and broken connections.
        .retry_config(RetryConfig::standard().with_max_attempts(4).with_max_backoff(Duration::from_secs(2)))
}

/// Timeouts of requests that are answered at once.
pub(super) fn small_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(15))
        .build()
}

/// Timeouts of requests with bodies of any length.
pub(super) fn bulk_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(Duration::from_mins(2)).build()
}

/// What requests for a lease have instead: other processes take a lease for dead that is not rewritten for 12 seconds,
/// so a request of which nothing is heard must have ended before.
pub(super) fn lease_attempts() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(LEASE_ATTEMPT_TIMEOUT)
        .operation_timeout(2 * LEASE_ATTEMPT_TIMEOUT + Duration::from_millis(500))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts).retry_config(retries)
}

/// How long one attempt of a request for a lease takes at most.
pub(super) const LEASE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// What requests with a client's own keys have instead, because the client waits for them.
pub(super) fn login_attempts() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(4))
        .operation_timeout(Duration::from_secs(6))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts).retry_config(retries)
}

/// What PUTs of chunks have instead: a chunk keeps up to 64 MiB of memory until its PUT has ended.
pub(super) fn chunk_attempts() -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_mins(1)).build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_max_backoff(Duration::from_secs(2));
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts).retry_config(retries)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
