//! Descriptors in a list of referrers (end-12).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Digest, MediaType};

/// A manifest that refers to another one by its `subject`, as the referrers API lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The manifest's media type.
    pub media_type: MediaType,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// What the manifest says that it is, or its config's media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest's own annotations, as they stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Box<RawValue>>,
}

/// An image index that lists referrers: what the API answers, and what stands under the tag that
/// clients of older registries keep instead.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrers {
    schema_version: u8,
    media_type: MediaType,
    /// The referrers.
    pub manifests: Vec<Referrer>,
}

impl Referrers {
    /// A list of these.
    #[must_use]
    pub const fn new(manifests: Vec<Referrer>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::OCI_INDEX,
            manifests,
        }
    }

    /// Reads an index; `None` when the bytes are something else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .filter(|index: &Self| index.media_type == MediaType::OCI_INDEX)
    }
}
