//! Descriptors in a list of referrers (end-12).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Digest;
use super::media_type::MediaType;

/// The descriptor of a manifest with a `subject`, as the referrers API lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The manifest's media type.
    pub media_type: MediaType,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's `artifactType`, or its config's media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest's annotations, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Box<RawValue>>,
}

/// An image index of referrers: the response of the API, and the manifest of the tag that clients maintain at
/// registries without the API.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrers {
    schema_version: u8,
    media_type: MediaType,
    /// The referrers.
    pub manifests: Vec<Referrer>,
}

impl Referrers {
    /// An index of these.
    #[must_use]
    pub const fn new(manifests: Vec<Referrer>) -> Self {
        Self { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests }
    }

    /// Parses an index, which has its media type, or `manifests` and no media type; `None` for anything else. An empty
    /// list may be `null`, as Go writes it. Entries that are no descriptors are left out.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).ok()?;
        let manifests = fields.get("manifests");
        let media_type = fields.get("mediaType").map(|raw| raw.get());
        let media_type: Option<MediaType> = serde_json::from_str(media_type.unwrap_or("null")).ok()?;
        if media_type.map_or(manifests.is_none(), |it| it != MediaType::OCI_INDEX) {
            return None;
        }
        let manifests = manifests.map_or("null", |raw| raw.get());
        let manifests: Option<Vec<&RawValue>> = serde_json::from_str(manifests).ok()?;
        let manifests = manifests.unwrap_or_default().into_iter();
        let readable = manifests.filter_map(|raw| serde_json::from_str(raw.get()).ok());
        Some(Self::new(readable.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_as_registries_write_them() {
        let index = "application/vnd.oci.image.index.v1+json";
        let good = format!(
            r#"{{"mediaType":"{index}","digest":"sha256:{}","size":1,"annotations":{{"a":"b"}}}}"#,
            "0".repeat(64)
        );
        for (text, expected) in [
            (format!(r#"{{"mediaType":"{index}","manifests":[{good}]}}"#), Some(1)),
            (format!(r#"{{"mediaType":"{index}","manifests":null}}"#), Some(0)),
            (format!(r#"{{"mediaType":"{index}"}}"#), Some(0)),
            (r#"{"manifests":null}"#.to_owned(), Some(0)),
            (format!(r#"{{"mediaType":null,"manifests":[{good}]}}"#), Some(1)),
            (format!(r#"{{"manifests":[{good},null,{{"digest":"x"}},7,{good}]}}"#), Some(2)),
            (r#"{"mediaType":"a/b","manifests":[]}"#.to_owned(), None),
            (r#"{"manifests":{}}"#.to_owned(), None),
            ("{}".to_owned(), None),
            ("[]".to_owned(), None),
            ("<html>".to_owned(), None),
        ] {
            let read = Referrers::read(text.as_bytes()).map(|it| it.manifests.len());
            assert_eq!(read, expected, "{text}");
        }
    }
}
