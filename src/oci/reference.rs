//! References to manifests: a tag or a digest.

use std::fmt;

use super::digest::Digest;
use super::tag::Tag;

/// The spec's `<tag-or-digest>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A tag, whose manifest can change.
    Tag(Tag),
    /// The digest of one manifest.
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
