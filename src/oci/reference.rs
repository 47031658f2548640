//! What may stand behind `/manifests/`: a tag or a digest.

use std::fmt;

use super::{Digest, Tag};

/// The spec's `<tag-or-digest>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that may come to mean another manifest.
    Tag(Tag),
    /// One manifest, for ever.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}
