//! What a manifest refers to, as events list it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::EventFormat;

/// What an image manifest or an index refers to.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Referring {
    config: Option<Reference>,
    layers: Vec<Reference>,
    manifests: Vec<Reference>,
}

/// A descriptor, with the fields that distribution passes on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reference {
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

/// The references of a manifest, in its order; none if it is not one that distribution knows.
pub(super) fn references(format: EventFormat, manifest: &[u8]) -> Vec<Reference> {
    let Referring { config, layers, manifests } = serde_json::from_slice(manifest).unwrap_or_default();
    let is_old = format == EventFormat::V1;
    let of_image = config.into_iter().chain(layers);
    // Up to version 2.8, the entries of an index have no platform.
    let of_index =
        manifests.into_iter().map(|entry| Reference { platform: entry.platform.filter(|_| !is_old), ..entry });
    let all = of_image.chain(of_index).map(|reference| {
        if is_old {
            // Its descriptors do not have these yet, and leave out what is empty.
            let size = reference.size.filter(|size| *size > 0);
            return Reference { size, data: None, artifact_type: None, ..reference };
        }
        let Reference { media_type, size, digest, .. } = reference;
        Reference {
            media_type: Some(media_type.unwrap_or_default()),
            size: Some(size.unwrap_or_default()),
            digest: Some(digest.unwrap_or_default()),
            ..reference
        }
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_written_as_in_each_version() {
        let index = json!({"manifests": [{
            "mediaType": "a/b", "digest": "sha256:1", "size": 0, "artifactType": "c/d", "data": "eA==", "x": 1,
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v1", "y": 2}, "annotations": {"k": "v"},
        }]});
        let written = |format| serde_json::to_value(references(format, index.to_string().as_bytes())).unwrap();
        let old = json!([{"mediaType": "a/b", "digest": "sha256:1", "annotations": {"k": "v"}}]);
        assert_eq!(written(EventFormat::V1), old);
        let new = json!([{
            "mediaType": "a/b", "digest": "sha256:1", "size": 0, "artifactType": "c/d", "data": "eA==",
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"}, "annotations": {"k": "v"},
        }]);
        assert_eq!(written(EventFormat::V2), new);
        assert!(references(EventFormat::V1, b"[]").is_empty() && references(EventFormat::V2, b"{").is_empty());
    }
}
