//! The errors that clients receive.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::digest::Digest;

/// The spec's error codes (code-1 to code-14), and distribution's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// code-1: the blob is not in the repository.
    BlobUnknown,
    /// code-2: the bytes or the range of an upload are wrong.
    BlobUploadInvalid,
    /// code-3: there is no such upload, or it has ended.
    BlobUploadUnknown,
    /// code-4: not a digest, or not the digest of the content.
    DigestInvalid,
    /// code-5: the manifest names content that the repository does not have.
    ManifestBlobUnknown,
    /// code-6: not a manifest of its media type.
    ManifestInvalid,
    /// code-7: the manifest is not in the repository.
    ManifestUnknown,
    /// code-8: not a repository name.
    NameInvalid,
    /// code-9: there is no such repository.
    NameUnknown,
    /// code-10: the length differs from the announced one.
    SizeInvalid,
    /// code-10 too: more than is accepted.
    TooLarge,
    /// code-11: the client must authenticate.
    Unauthorized,
    /// code-12: the client may not do this.
    Denied,
    /// code-13: pounce does not support this.
    Unsupported,
    /// code-14: too many requests, here or at the upstream.
    TooManyRequests,
    /// distribution's: not a tag.
    TagInvalid,
    /// distribution's: `n` is not a number, or is too large.
    PaginationNumberInvalid,
    /// distribution's: no byte of the blob lies in the range.
    RangeInvalid,
    /// distribution's: the upstream or the bucket cannot be reached.
    Unavailable,
}

impl ErrorCode {
    /// The `code` field of an error body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid | Self::TooLarge => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::TagInvalid => "TAG_INVALID",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// An error for a client, with a cause for the log only. Cheap to clone, because coalesced requests share one.
#[derive(Clone, Debug)]
pub struct Error {
    code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    size: Option<u64>,
    missing: Arc<[Digest]>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message that the client can act on.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None, size: None, missing: Arc::new([]), cause: None }
    }

    /// Adds the cause, which only the log shows.
    #[must_use]
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Adds how long the client should wait (`Retry-After`).
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// Adds the size of the blob that a range lies outside of.
    #[must_use]
    pub const fn with_size(mut self, size: Option<u64>) -> Self {
        self.size = size;
        self
    }

    /// Adds missing content: each digest becomes an entry in the error's body.
    #[must_use]
    pub fn with_missing(mut self, missing: Vec<Digest>) -> Self {
        self.missing = missing.into();
        self
    }

    /// The digests of missing content, if the error is about that.
    #[must_use]
    pub fn missing(&self) -> &[Digest] {
        &self.missing
    }

    /// The size of the blob that a range lies outside of, if known.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long the client should wait, if known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
