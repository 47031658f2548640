//! Media types, of `Content-Type` and of manifests.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A media type without parameters.
///
/// Invariant: `type/subtype` in the characters that RFC 6838 allows, at most 255 of them, so it is always a valid
/// header value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaType(Cow<'static, str>);

/// The text is not a [`MediaType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a media type is written type/subtype")]
pub struct MediaTypeError;

impl MediaType {
    /// Any bytes.
    pub const OCTET_STREAM: Self = Self(Cow::Borrowed("application/octet-stream"));
    /// image-spec, manifest.md.
    pub const OCI_MANIFEST: Self = Self(Cow::Borrowed("application/vnd.oci.image.manifest.v1+json"));
    /// image-spec, image-index.md.
    pub const OCI_INDEX: Self = Self(Cow::Borrowed("application/vnd.oci.image.index.v1+json"));
    /// Docker image manifest V2, schema 2.
    pub const DOCKER_MANIFEST: Self = Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.v2+json"));
    /// Docker manifest list.
    pub const DOCKER_LIST: Self = Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.list.v2+json"));
    /// Docker image manifest V2, schema 1, signed.
    pub const DOCKER_SCHEMA1: Self = Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.v1+prettyjws"));

    /// The types of image manifests.
    pub const IMAGES: [Self; 2] = [Self::OCI_MANIFEST, Self::DOCKER_MANIFEST];

    /// The types of lists of manifests.
    pub const INDEXES: [Self; 2] = [Self::OCI_INDEX, Self::DOCKER_LIST];

    /// The types in the `Accept` of requests to an upstream, whatever the client accepts.
    pub const MANIFESTS: [Self; 4] = [Self::OCI_INDEX, Self::OCI_MANIFEST, Self::DOCKER_LIST, Self::DOCKER_MANIFEST];

    /// Whether it is a list of manifests.
    #[must_use]
    pub fn is_index(&self) -> bool {
        Self::INDEXES.contains(self)
    }

    /// Whether it is an image manifest.
    #[must_use]
    pub fn is_image(&self) -> bool {
        Self::IMAGES.contains(self)
    }

    /// Whether it is the type of a manifest: a known one, or one with that name, as those of schema 1 and of artifacts.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        self.is_index() || self.as_str().contains(".manifest.")
    }

    /// Whether it is a known type of manifests, of any schema.
    pub(super) fn is_known_manifest(&self) -> bool {
        let schema1 = "application/vnd.docker.distribution.manifest.v1+json";
        let artifact = "application/vnd.oci.artifact.manifest.v1+json";
        Self::MANIFESTS.contains(self) || *self == Self::DOCKER_SCHEMA1 || [schema1, artifact].contains(&self.as_str())
    }

    /// Whether it is a vendor's type.
    pub(super) fn is_vendors(&self) -> bool {
        self.as_str().starts_with("application/vnd.")
    }

    /// Whether it is one of those that servers declare for any content.
    pub(super) fn is_generic(&self) -> bool {
        matches!(
            self.as_str(),
            "application/octet-stream" | "binary/octet-stream" | "application/json" | "text/plain" | "text/html"
        )
    }

    /// Whether it is that of layers that clients fetch from the descriptor's own URLs, because they may not be
    /// distributed.
    pub(super) fn is_foreign_layer(&self) -> bool {
        let text = self.as_str();
        text.contains(".nondistributable.") || text.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    /// Drops parameters behind a `;`, as the spec recommends for manifests.
    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let essence = text.split_once(';').map_or(text, |(essence, _)| essence).trim();
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        match essence.split_once('/') {
            Some((kind, subtype)) if essence.len() <= 255 && token(kind) && token(subtype) => {
                Ok(Self(Cow::Owned(essence.to_ascii_lowercase())))
            }
            _ => Err(MediaTypeError),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_dropped_and_nonsense_is_refused() {
        assert_eq!("application/json; charset=utf-8".parse::<MediaType>().unwrap().as_str(), "application/json");
        assert_eq!(MediaType::OCI_INDEX.as_str().parse::<MediaType>().unwrap(), MediaType::OCI_INDEX);
        for text in ["", "json", "/", "a/", "a/b/c", "a/b\r\nx: y", "a b/c"] {
            assert_eq!(text.parse::<MediaType>(), Err(MediaTypeError), "{text:?}");
        }
    }
}
