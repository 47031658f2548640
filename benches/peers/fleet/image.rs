//! The image that all nodes pull: a real one, which containerd unpacks.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::upstream::Catalog;
use crate::content::Content;
use crate::support::image::{OCI_MANIFEST, digest, noise};

/// Its repository and tag.
pub const NAME: &str = "bench/image";
pub const TAG: &str = "1";
/// Its layers, as uneven as those of real images, in MB: a base, packages, a runtime, an application.
const LAYERS: [usize; 6] = [170, 110, 60, 35, 20, 5];
const BLOCK: usize = 512;

pub struct Image {
    pub manifest: Bytes,
    pub digest: String,
    /// Config and layers, by digest.
    pub blobs: BTreeMap<String, Bytes>,
}

impl Image {
    pub fn build() -> Self {
        let layers: Vec<Bytes> = (0..).zip(LAYERS).map(|(number, mb)| tar(number, mb * 1_000_000)).collect();
        let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let rootfs = json!({"type": "layers", "diff_ids": digests});
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).to_string();
        let config = Bytes::from(config);
        let descriptor = |kind: &str, digest: &str, blob: &Bytes| {
            let media_type = format!("application/vnd.oci.image.{kind}");
            json!({"mediaType": media_type, "digest": digest, "size": blob.len()})
        };
        let listed = layers.iter().zip(&digests).map(|(layer, digest)| descriptor("layer.v1.tar", digest, layer));
        let listed: Vec<_> = listed.collect();
        let config_digest = digest(&config);
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("config.v1+json", &config_digest, &config), "layers": listed});
        let manifest = Bytes::from(manifest.to_string());
        let blobs = digests.into_iter().zip(layers).chain([(config_digest, config)]).collect();
        Self { digest: digest(&manifest), manifest, blobs }
    }

    /// The size of its blobs, in bytes.
    pub fn size(&self) -> u64 {
        self.blobs.values().map(|blob| blob.len() as u64).sum()
    }
}

impl Catalog for Image {
    fn find(&self, path: &str) -> Option<(Content, String, &'static str)> {
        let (kind, reference) = path.strip_prefix(&format!("/v2/{NAME}/"))?.split_once('/')?;
        match kind {
            "manifests" if reference == TAG || reference == self.digest => {
                Some((Content::Bytes(self.manifest.clone()), self.digest.clone(), OCI_MANIFEST))
            }
            "blobs" => {
                let blob = self.blobs.get(reference)?.clone();
                Some((Content::Bytes(blob), reference.to_owned(), "application/octet-stream"))
            }
            _ => None,
        }
    }
}

/// A tar of about so many bytes, with one file of noise.
fn tar(number: u64, bytes: usize) -> Bytes {
    let content = noise(9_000 + number, bytes / BLOCK * BLOCK - 3 * BLOCK);
    let mut tar = Vec::with_capacity(bytes);
    tar.extend_from_slice(&header(number, content.len()));
    tar.extend_from_slice(&content);
    // The end of an archive.
    tar.extend_from_slice(&[0; 2 * BLOCK]);
    tar.into()
}

/// The header of a file, by POSIX' ustar.
fn header(number: u64, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("file{number}"));
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
