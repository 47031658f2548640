//! Why content is served although the upstream did not confirm it.

use crate::upstream::UpstreamError;

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
            UpstreamError::Denied { .. } => Some(Self::Refused),
            _ => Some(Self::Away),
        }
    }
}
