//! Errors of an upstream, by their consequences.

use std::time::Duration;

use crate::telemetry::{causes, speaks_plain_http};

/// Why the upstream did not answer a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It says that there is no such thing.
    #[error("the upstream has no such thing")]
    NotFound,
    /// It refuses pounce's credentials, or the lack of them.
    #[error("the upstream refused {credential}: {cause}")]
    Denied {
        /// Which credential was refused.
        credential: String,
        /// Its response.
        cause: String,
        /// pounce has no credentials for it.
        anonymous: bool,
    },
    /// pounce does not ask for this image: `allow` or `deny`.
    #[error("the configuration does not let this image in")]
    NotAdmitted,
    /// It limits the rate of requests.
    #[error("the upstream limits the rate of requests")]
    TooManyRequests {
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// It cannot be reached, or fails.
    #[error("the upstream is not available: {0}")]
    Unavailable(String),
    /// Something that is no registry says that there is no such thing: its status, type and first words.
    #[error("no registry answered for the upstream, but something else: {0}")]
    Unrecognized(String),
    /// It has the content in a form that pounce does not support.
    #[error("the upstream has it in a form that is not supported: {0}")]
    Unsupported(String),
    /// Its response is malformed, or not one that pounce passes on.
    #[error("the upstream's answer cannot be used: {0}")]
    Invalid(String),
}

impl UpstreamError {
    /// Whether it says nothing about the content: what is stored may be served in its place.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::TooManyRequests { .. } | Self::Unavailable(_) | Self::Unrecognized(_) | Self::Invalid(_))
    }

    /// An operator's remedy for an upstream that fails a ping so.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Denied { anonymous: true, .. } => {
                "it wants credentials: set username and password, or exec.command, beside remoteurl"
            }
            Self::NotAdmitted => "check allow and deny",
            Self::Denied { .. } => "check username and password, or exec.command",
            Self::NotFound | Self::Unrecognized(_) | Self::Unsupported(_) | Self::Invalid(_) => {
                "check remoteurl: there is no registry at that address"
            }
            Self::TooManyRequests { .. } => "wait, or give pounce credentials",
            Self::Unavailable(cause) if speaks_plain_http(cause) => {
                "it does not speak TLS at that port: write http:// in remoteurl"
            }
            Self::Unavailable(_) => "check remoteurl, and that this machine reaches it",
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TooManyRequests { .. })
    }
}

impl From<reqwest::Error> for UpstreamError {
    fn from(error: reqwest::Error) -> Self {
        // Without the URL: it may carry a signature.
        Self::Unavailable(causes(&error.without_url()))
    }
}
