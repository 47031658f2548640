//! Why a bucket cannot be connected to.

use super::error::{StoreError, describe_clock};
use crate::telemetry::speaks_plain_http;

/// Why the bucket cannot be used, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The bucket does not exist.
    #[error("storage.s3.bucket: there is no bucket {bucket} at {endpoint}; correct the name, or create it")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// Where pounce looked for it.
        endpoint: String,
    },
    /// There are no credentials.
    #[error(
        "storage.s3.accesskey, storage.s3.secretkey: there are no credentials for the bucket {bucket}; set both, or the \
         variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{}", found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default()
    )]
    NoCredentials {
        /// The bucket's name.
        bucket: String,
        /// Why what was found is of no use: a profile that cannot be read, say.
        found: Option<String>,
    },
    /// Signatures are refused, because this machine's clock is wrong.
    #[error(
        "{}: {endpoint} refuses what it signs for the bucket {bucket}; set the clock, by NTP",
        describe_clock(*.ahead)
    )]
    Clock {
        /// The bucket's name.
        bucket: String,
        /// Which endpoint refused.
        endpoint: String,
        /// How many seconds the bucket's clock is ahead of this machine's, if it tells.
        ahead: Option<i64>,
    },
    /// The bucket is in another region.
    #[error(
        "storage.s3.region: {endpoint} does not take requests for the bucket {bucket} in the region {region}{}",
        told.as_ref().map_or("; set the region of the bucket".to_owned(), |told| format!("; it is in {told}, set that"))
    )]
    Region {
        /// The bucket's name.
        bucket: String,
        /// Which endpoint refused.
        endpoint: String,
        /// The region that is configured.
        region: String,
        /// The region that the bucket is in, if it tells.
        told: Option<String>,
    },
    /// The credentials were refused.
    #[error(
        "storage.s3.accesskey, storage.s3.secretkey: {endpoint} refuses these credentials for the bucket \
         {bucket}; set keys that may read and write it (Tigris gives the same answer when storage.s3.bucket names a \
         bucket that does not exist)"
    )]
    Denied {
        /// The bucket's name.
        bucket: String,
        /// Which endpoint refused.
        endpoint: String,
        /// The SDK's error.
        #[source]
        cause: StoreError,
    },
    /// Nothing answers there, or not as an S3 does.
    #[error("storage.s3.regionendpoint: the bucket {bucket} at {endpoint} cannot be used: {cause}; {}", remedy(cause))]
    Unavailable {
        /// The bucket's name.
        bucket: String,
        /// Which endpoint did not answer.
        endpoint: String,
        /// The SDK's error.
        cause: StoreError,
    },
    /// The folder cannot be used.
    #[error("storage.filesystem.rootdirectory: {0}; name a folder that pounce may write to")]
    Folder(#[from] std::io::Error),
}

/// What to do about an endpoint that cannot be used.
fn remedy(cause: &StoreError) -> &'static str {
    let speaks_plain_http = speaks_plain_http(&cause.to_string());
    if speaks_plain_http { "write http:// there" } else { "check it, and that this machine reaches it" }
}
