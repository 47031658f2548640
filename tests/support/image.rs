//! Generated images.

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest with its blobs.
#[derive(Clone, Debug)]
pub struct Image {
    pub manifest: Bytes,
    pub media_type: String,
    pub blobs: Vec<Bytes>,
}

impl Image {
    /// A config and layers of these sizes, different for every `seed`.
    pub fn new(seed: u64, layers: &[usize]) -> Self {
        let config = Bytes::from(json!({"architecture": "amd64", "os": "linux", "seed": seed}).to_string());
        let layers: Vec<Bytes> =
            layers.iter().enumerate().map(|(index, size)| noise(seed * 1000 + index as u64, *size)).collect();
        let descriptor = |media_type: &str, blob: &Bytes| json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()});
        let listed: Vec<_> =
            layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": listed,
        });
        let blobs = std::iter::once(config).chain(layers).collect();
        Self { manifest: manifest.to_string().into(), media_type: OCI_MANIFEST.into(), blobs }
    }

    /// The same image with one layer more.
    pub fn with_layer(mut self, layer: &Bytes) -> Self {
        let mut manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap();
        let entry = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(layer), "size": layer.len()});
        manifest["layers"].as_array_mut().unwrap().push(entry);
        self.manifest = manifest.to_string().into();
        self.blobs.push(layer.clone());
        self
    }

    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The first layer.
    pub fn layer(&self) -> &Bytes {
        &self.blobs[1]
    }
}

pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", const_hex::encode(Sha256::digest(content)))
}

/// Bytes that do not repeat.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
