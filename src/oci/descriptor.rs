//! Descriptors: how one piece of content points at another.

use serde::Deserialize;

use super::{Digest, MediaType, Platform};

/// Points at a blob or a manifest (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    #[serde(default, deserialize_with = "Platform::lenient")]
    platform: Option<Platform>,
    /// Makes an array of the three something else than a descriptor, which serde would take for one.
    #[serde(flatten)]
    _others: Others,
}

/// Fields that mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Others;

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(serde::de::IgnoredAny)?;
        Ok(Self)
    }
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

    /// What the manifest that it points at runs on, where an index tells.
    #[must_use]
    pub const fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// The size of what it points at, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}
