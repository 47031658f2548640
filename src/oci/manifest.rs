//! Manifests: bytes that are kept as they came, and what they point at.

use bytes::Bytes;

use super::shape::{Descriptors, Shape};
use super::{Algorithm, Descriptor, Digest, MediaType, Referrer};

/// The largest manifest that is accepted, in bytes: the size that the spec asks every registry to support, and the
/// limit of most.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// A manifest, cheap to clone.
///
/// Invariants: `digest` is the digest of `bytes`, and there are at most [`MAX_MANIFEST_BYTES`] of them.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    media_type: MediaType,
    digest: Digest,
}

/// Why bytes do not become a [`Manifest`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes, which is more than 4 MiB")]
    TooLarge(usize),
    /// The bytes are not those that were asked for.
    #[error("the manifest's digest is {actual}, not {expected}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Box<Digest>,
    },
    /// It was asked for by the digest of a part of it, as manifests of schema 1 have it.
    #[error("the manifest is one of schema 1, whose digest leaves out its signatures")]
    Schema1,
    /// The bytes are not a JSON object.
    #[error("the manifest is not a JSON object")]
    NotJson,
    /// The bytes are not text.
    #[error("the manifest is not UTF-8")]
    NotUtf8,
    /// The JSON is nested without need.
    #[error("the manifest is nested more than 64 levels deep")]
    TooDeep,
    /// The JSON is not a manifest of its media type.
    #[error("the manifest is not a valid {media_type}: {why}")]
    Form {
        /// The type.
        media_type: MediaType,
        /// What is wrong.
        why: String,
    },
    /// Two media types are declared.
    #[error("the manifest's mediaType is {inside}, but its Content-Type is {declared}")]
    TwoTypes {
        /// In the `Content-Type`.
        declared: MediaType,
        /// In the manifest.
        inside: MediaType,
    },
    /// Nothing is known of the media type.
    #[error(
        "{0} is not a type of manifest that this registry takes: push an OCI manifest or index, or a Docker \
         manifest (version 2, schema 2) or list"
    )]
    Unsupported(MediaType),
}

/// What a manifest points at, within its own repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Config and layers, without those that clients fetch elsewhere (foreign layers). Of an index, the entries whose
    /// media type is no manifest's: `BuildKit` keeps its cache in an index of layers and a config.
    pub blobs: Vec<Descriptor>,
    /// The other entries of an index. One that is wrongly called a manifest may be a blob all the same.
    pub manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Takes bytes for a manifest, under the digest they were asked for by, or their SHA-256.
    ///
    /// `declared` is the media type that came with them; without one that is a manifest's, the bytes themselves tell:
    /// upstreams and buckets declare anything.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn new(bytes: Bytes, declared: Option<MediaType>, expected: Option<Digest>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let digest = Digest::of(expected.map_or(Algorithm::Sha256, |digest| digest.algorithm()), &bytes);
        let shape = Shape::read(&bytes);
        if let Some(expected) = expected
            && expected != digest
        {
            if shape.is_some_and(|shape| shape.schema_version == Some(1)) {
                return Err(ManifestError::Schema1);
            }
            return Err(ManifestError::Digest { expected, actual: Box::new(digest) });
        }
        let shape = shape.ok_or(ManifestError::NotJson)?;
        let media_type = shape.media_type(declared);
        Ok(Self { bytes, media_type, digest })
    }

    /// Whether JSON that nothing else vouches for is a manifest: its type is one's or a vendor's, or it has a field
    /// that only manifests have. What is no JSON at all is for [`new`](Self::new) to refuse.
    #[must_use]
    pub fn is_recognizable(bytes: &[u8], declared: Option<&MediaType>) -> bool {
        let is_declared =
            |declared: &MediaType| is_manifests(declared) || declared.as_str().starts_with("application/vnd.");
        declared.is_some_and(is_declared)
            || Shape::read(bytes).is_none_or(|shape| {
                shape.schema_version.is_some()
                    || shape.media_type.is_some()
                    || shape.config.is_some()
                    || shape.layers.is_some_and(|it| it.is_valid())
                    || shape.manifests.is_some_and(|it| it.is_valid())
            })
    }

    /// The manifest that it refers to, and its own descriptor in the list of that one's referrers (end-12); `None`
    /// without a `subject`.
    #[must_use]
    pub fn referrer(&self) -> Option<(Digest, Referrer)> {
        let shape = Shape::read(&self.bytes)?;
        let subject = *shape.subject?.digest();
        let config = shape.config.map(|config| config.media_type().to_string());
        Some((
            subject,
            Referrer {
                media_type: self.media_type.clone(),
                digest: self.digest,
                size: self.bytes.len() as u64,
                artifact_type: shape.artifact_type.filter(|text| !text.is_empty()).or(config),
                annotations: shape
                    .annotations
                    .filter(|raw| raw.get().starts_with('{') && raw.get() != "{}")
                    .map(ToOwned::to_owned),
            },
        ))
    }

    /// The manifest, byte for byte.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What stands in for an index at a client that takes image manifests only: its first image for linux/amd64, one of
    /// a type that the client named before any other. `None` where there is none.
    #[must_use]
    pub fn default_image(&self, accept: &[MediaType]) -> Option<Digest> {
        let images = self.links().manifests.into_iter().filter(|entry| {
            let platform = entry.platform();
            entry.media_type().is_image()
                && platform.is_some_and(|it| it.os() == "linux" && it.architecture() == "amd64")
        });
        let images: Vec<Descriptor> = images.collect();
        let named = images.iter().find(|image| accept.contains(image.media_type()));
        named.or(images.first()).map(|image| *image.digest())
    }

    /// What it points at. Content that is no image manifest or index points at nothing; an index has no layers,
    /// whatever it says, and nobody asks whether a repository has those.
    #[must_use]
    pub fn links(&self) -> Links {
        let shape = Shape::read(&self.bytes).unwrap_or_default();
        let mut links = Links::default();
        let entries = shape.manifests.filter(Descriptors::is_valid);
        if self.media_type.is_index() || entries.is_some() {
            // All of them are valid.
            let _ = entries.map(|entries| {
                entries.each(|entry| {
                    if entry.media_type().is_manifest() {
                        links.manifests.push(entry);
                    } else {
                        links.blobs.push(entry);
                    }
                })
            });
            return links;
        }
        let blobs = &mut links.blobs;
        let mut add = |blob: Descriptor| {
            if !is_foreign(blob.media_type()) {
                blobs.push(blob);
            }
        };
        shape.config.into_iter().for_each(&mut add);
        if let Some(layers) = shape.layers.filter(Descriptors::is_valid) {
            // All of them are valid.
            let _ = layers.each(add);
        }
        links
    }
}

/// Whether it is a type of nothing else than manifests.
pub(super) fn is_manifests(declared: &MediaType) -> bool {
    let schema1 = "application/vnd.docker.distribution.manifest.v1+json";
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    MediaType::MANIFESTS.contains(declared)
        || *declared == MediaType::DOCKER_SCHEMA1
        || [schema1, artifact].contains(&declared.as_str())
}

/// Servers that know nothing of manifests declare them as plain JSON, text or bytes.
pub(super) fn says_something(declared: &MediaType) -> bool {
    !matches!(
        declared.as_str(),
        "application/octet-stream" | "binary/octet-stream" | "application/json" | "text/plain" | "text/html"
    )
}

/// Layers that may not be distributed: clients fetch them from the descriptor's own URLs.
fn is_foreign(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    text.contains(".nondistributable.") || text.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(json: &'static str) -> Manifest {
        Manifest::new(Bytes::from_static(json.as_bytes()), None, None).unwrap()
    }

    #[test]
    fn the_declared_type_wins_and_the_bytes_tell_otherwise() {
        let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
        let declared = Some(MediaType::DOCKER_LIST);
        let vague = Some("application/json".parse().unwrap());
        let kind = |declared| Manifest::new(bytes.clone(), declared, None).unwrap().media_type().clone();
        assert_eq!(kind(declared), MediaType::DOCKER_LIST);
        assert_eq!(kind(vague), MediaType::OCI_INDEX);
        assert_eq!(kind(None), MediaType::OCI_INDEX);
        assert_eq!(*manifest(r#"{"schemaVersion":1}"#).media_type(), MediaType::DOCKER_SCHEMA1);
        assert_eq!(*manifest(r#"{"mediaType":"a/b"}"#).media_type().as_str(), *"a/b");
    }

    #[test]
    fn a_type_that_is_no_manifests_gives_way_to_the_manifests_own() {
        let kind = |declared: &str, json: &'static str| {
            let declared = declared.parse().ok();
            let manifest = Manifest::new(json.into(), declared, None).unwrap();
            manifest.media_type().clone()
        };
        let (docker, layers) = (
            r#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","layers":[]}"#,
            r#"{"schemaVersion":2,"layers":[]}"#,
        );
        for odd in ["", "text/plain", "text/html", "image/png", "application/x-tar"] {
            assert_eq!(kind(odd, docker), MediaType::DOCKER_MANIFEST, "{odd}");
            assert_eq!(kind(odd, layers), MediaType::OCI_MANIFEST, "{odd}");
        }
        let vendors = "application/vnd.example.thing.v1+json";
        assert_eq!(kind(vendors, layers).as_str(), vendors);
        assert_eq!(kind("a/b", "{}").as_str(), "a/b");
    }

    #[test]
    fn a_digest_that_leaves_out_signatures_is_told_from_a_wrong_one() {
        let expected = Some(Digest::of(Algorithm::Sha256, b"payload"));
        let asked = |json: &'static str| Manifest::new(json.into(), None, expected).unwrap_err();
        assert_eq!(asked(r#"{"schemaVersion":1,"signatures":[]}"#), ManifestError::Schema1);
        let other = asked(r#"{"schemaVersion":2}"#);
        assert!(matches!(other, ManifestError::Digest { .. }));
    }

    #[test]
    fn other_bytes_than_asked_for_are_refused() {
        let expected = Digest::of(Algorithm::Sha512, b"{}");
        assert_eq!(Manifest::new("{}".into(), None, Some(expected)).unwrap().digest(), expected);
        let error = Manifest::new("{ }".into(), None, Some(expected)).unwrap_err();
        assert!(matches!(error, ManifestError::Digest { .. }));
        assert_eq!(Manifest::new("<html>".into(), None, None).unwrap_err(), ManifestError::NotJson);
        let large = Bytes::from(vec![b' '; MAX_MANIFEST_BYTES + 1]);
        assert!(matches!(Manifest::new(large, None, None).unwrap_err(), ManifestError::TooLarge(_)));
    }

    #[test]
    fn links_are_config_and_layers_without_the_foreign_ones() {
        let text = r#"{"config":{"mediaType":"a/c","digest":"DIGEST","size":1},"layers":[
            {"mediaType":"a/l","digest":"DIGEST","size":2},
            {"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"DIGEST","size":3}]}"#;
        let text = text.replace("DIGEST", &Digest::of(Algorithm::Sha256, b"").to_string());
        let links = Manifest::new(text.into(), None, None).unwrap().links();
        let sizes: Vec<_> = links.blobs.iter().map(Descriptor::size).collect();
        assert_eq!((sizes, links.manifests.len()), (vec![1, 2], 0));
    }

    #[test]
    fn fields_of_unexpected_form_count_as_absent() {
        let links = manifest(r#"{"config":7,"layers":[{"digest":"sha256:.."}],"manifests":"x"}"#).links();
        assert_eq!(links, Links::default());
    }
}
