//! Descriptors: how one piece of content points at another.

use serde::Deserialize;

use super::{Digest, MediaType};

/// Points at a blob or a manifest (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: MediaType,
    digest: Digest,
    size: u64,
}

impl Descriptor {
    /// The type of what it points at.
    #[must_use]
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The digest of what it points at.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The size of what it points at, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}
