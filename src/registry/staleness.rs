//! Why content is served although the upstream did not confirm it.

use std::fmt::Display;

use crate::oci::RepositoryName;
use crate::upstream::{Upstream, UpstreamError};

/// Why a stored tag or list is served although the upstream did not confirm it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// The upstream cannot be reached, fails, or limits the rate of requests.
    Away,
    /// The upstream takes longer than a client should wait.
    Slow,
    /// The upstream refuses pounce's credentials, or anonymous access.
    Refused,
}

impl Staleness {
    /// What follows from a failed comparison; `None` where the upstream said that the content is gone.
    ///
    /// A refusal says nothing about the tag, not even to an anonymous pounce, which Docker Hub refuses when a
    /// repository became private or vanished: the content was public when it was stored, and is served by its digest in
    /// any case. An operator can delete it.
    pub(super) const fn of(error: &UpstreamError) -> Option<Self> {
        match error {
            UpstreamError::NotFound => None,
            UpstreamError::Denied { .. } | UpstreamError::NotAdmitted => Some(Self::Refused),
            _ => Some(Self::Away),
        }
    }
}

/// Logs that stored content is served, why, and for how long the upstream has been failing: as a warning once a minute
/// for an upstream and a kind of content.
pub(super) fn log_stale(
    upstream: &Upstream,
    (repository, reference): (&RepositoryName, &dyn Display),
    cause: &dyn Display,
    message: &'static str,
) {
    let (label, health) = (upstream.label(), upstream.health());
    let failing_seconds = health.failing().map(|failing| failing.duration().as_secs());
    let error = cause;
    if health.is_due(message.to_owned()) {
        tracing::warn!(upstream = label, %repository, %reference, %error, failing_seconds, "{message}");
    } else {
        tracing::debug!(upstream = label, %repository, %reference, %error, failing_seconds, "{message}");
    }
}
