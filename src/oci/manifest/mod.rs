//! Manifests: their bytes, unchanged, and their links.

mod error;
mod lenient;
mod named;
mod strict;

use bytes::Bytes;

use super::descriptor::Descriptor;
use super::digest::{Algorithm, Digest};
use super::media_type::MediaType;
use super::referrer::Referrer;
use lenient::{Descriptors, LenientManifest};

pub use error::ManifestError;
pub use named::named_digests;

/// The largest accepted manifest, in bytes: the size that the spec requires of registries, and the limit of most.
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

/// The content that a manifest refers to, in its own repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Config and layers, without foreign layers, which clients fetch elsewhere. Of an index, the entries whose media
    /// type is not that of a manifest: `BuildKit` keeps its cache in an index of layers and a config.
    pub blobs: Vec<Descriptor>,
    /// The other entries of an index. One with a wrong media type may be a blob all the same.
    pub manifests: Vec<Descriptor>,
}

impl Manifest {
    /// A manifest of bytes from an upstream or the bucket, with the expected digest, or their SHA-256.
    ///
    /// `declared` is their `Content-Type`. If that is not the type of a manifest, the bytes decide, because upstreams
    /// and buckets declare anything.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn new(bytes: Bytes, declared: Option<MediaType>, expected: Option<Digest>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let digest = Digest::of(expected.map_or(Algorithm::Sha256, |digest| digest.algorithm()), &bytes);
        let parsed = LenientManifest::parse(&bytes);
        if let Some(expected) = expected
            && expected != digest
        {
            if parsed.is_some_and(|it| it.schema_version == Some(1)) {
                return Err(ManifestError::Schema1);
            }
            return Err(ManifestError::Digest { expected, actual: Box::new(digest) });
        }
        let media_type = parsed.ok_or(ManifestError::NotJson)?.media_type(declared);
        Ok(Self { bytes, media_type, digest })
    }

    /// A manifest of bytes that a client pushes, with the expected digest, or their SHA-256. It is checked more
    /// strictly than one of an upstream, because pounce vouches for it. `declared` is the `Content-Type`; without one,
    /// the manifest's `mediaType` counts.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn pushed(bytes: &Bytes, declared: Option<MediaType>, expected: Option<Digest>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        strict::check_text(bytes)?;
        // The digest before the content, so that a client learns that its bytes were changed on the way.
        let manifest = match Self::new(bytes.clone(), declared.clone(), expected) {
            Err(ManifestError::NotJson) => return Err(strict::syntax_error(bytes, declared)),
            other => other?,
        };
        strict::check(bytes, declared, &manifest.media_type)?;
        Ok(manifest)
    }

    /// Whether JSON without an expected digest is a manifest: its media type is that of a manifest or a vendor's, or it
    /// has a field that only manifests have. [`new`](Self::new) refuses what is not JSON.
    #[must_use]
    pub fn is_recognizable(bytes: &[u8], declared: Option<&MediaType>) -> bool {
        declared.is_some_and(|it| it.is_known_manifest() || it.is_vendors())
            || LenientManifest::parse(bytes)
                .is_none_or(|it| it.media_type.is_some() || it.guess().is_some() || it.schema_version.is_some())
    }

    /// The digest of its `subject`, and its descriptor in the list of the subject's referrers (end-12); `None` without
    /// a subject.
    #[must_use]
    pub fn referrer(&self) -> Option<(Digest, Referrer)> {
        let parsed = LenientManifest::parse(&self.bytes)?;
        let subject = *parsed.subject?.digest();
        let config = parsed.config.map(|config| config.media_type().to_string());
        let annotations = parsed.annotations.filter(|raw| raw.get().starts_with('{') && raw.get() != "{}");
        let referrer = Referrer {
            media_type: self.media_type.clone(),
            digest: self.digest,
            size: self.bytes.len() as u64,
            artifact_type: parsed.artifact_type.filter(|text| !text.is_empty()).or(config),
            annotations: annotations.map(ToOwned::to_owned),
        };
        Some((subject, referrer))
    }

    /// The bytes, unchanged.
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

    /// The image of an index for a client that accepts image manifests only: its first one for linux/amd64, preferably
    /// of a media type that the client accepts.
    #[must_use]
    pub fn default_image(&self, accept: &[MediaType]) -> Option<Digest> {
        let mut images = self.links().manifests;
        images.retain(|entry| {
            let is_default = entry.platform().is_some_and(|it| it.os() == "linux" && it.architecture() == "amd64");
            is_default && entry.media_type().is_image()
        });
        let named = images.iter().find(|image| accept.contains(image.media_type()));
        named.or(images.first()).map(|image| *image.digest())
    }

    /// Its links. Content that is neither an image manifest nor an index has none. An index's config and layers are
    /// ignored.
    #[must_use]
    pub fn links(&self) -> Links {
        let parsed = LenientManifest::parse(&self.bytes).unwrap_or_default();
        let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
        let entries = parsed.manifests.filter(Descriptors::is_valid);
        if self.media_type.is_index() || entries.is_some() {
            // All of them are valid.
            let _ = entries.map(|entries| {
                entries.each(|entry| {
                    let list = if entry.media_type().is_manifest() { &mut manifests } else { &mut blobs };
                    list.push(entry);
                })
            });
        } else {
            blobs.extend(parsed.config);
            // All of them are valid.
            let _ = parsed.layers.filter(Descriptors::is_valid).map(|layers| layers.each(|layer| blobs.push(layer)));
            blobs.retain(|blob| !blob.media_type().is_foreign_layer());
        }
        Links { blobs, manifests }
    }
}

#[cfg(test)]
mod tests;
