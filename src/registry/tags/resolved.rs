//! What a tag turned out to name.

use crate::oci::{Digest, Manifest, Outcome};
use crate::registry::cache::TagState;
use crate::registry::staleness::Staleness;

/// What a tag names.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Resolved {
    /// This digest, how that is known, and why it may be out of date.
    Digest(Digest, Outcome, Option<Staleness>),
    /// This manifest, which the upstream sent with its answer.
    Manifest(Manifest),
}

impl Resolved {
    pub(super) const fn hit(digest: Digest) -> Self {
        Self::Digest(digest, Outcome::Hit, None)
    }

    /// A stored tag that the upstream did not confirm.
    pub(super) const fn stale(state: &TagState, why: Staleness) -> Self {
        Self::Digest(state.digest, Outcome::Stale, Some(why))
    }

    /// A tag that is fresh in memory.
    pub(super) fn fresh(state: &TagState) -> Self {
        match state.stale {
            Some(why) => Self::stale(state, why),
            None => Self::hit(state.digest),
        }
    }
}
