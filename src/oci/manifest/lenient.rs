//! The fields of a manifest from an upstream or the bucket.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::MediaType;

/// The fields of any kind of manifest. A field of an unexpected form counts as absent, because pounce passes on what
/// the upstream has.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LenientManifest<'a> {
    #[serde(deserialize_with = "lenient")]
    pub(super) schema_version: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) media_type: Option<MediaType>,
    #[serde(deserialize_with = "lenient")]
    pub(super) config: Option<Descriptor>,
    #[serde(borrow, deserialize_with = "listed")]
    pub(super) layers: Option<Descriptors<'a>>,
    #[serde(borrow, deserialize_with = "listed")]
    pub(super) manifests: Option<Descriptors<'a>>,
    #[serde(deserialize_with = "lenient")]
    pub(super) subject: Option<Descriptor>,
    #[serde(deserialize_with = "lenient")]
    pub(super) artifact_type: Option<String>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
}

/// A list of descriptors, as JSON, because values take more memory. Users check [`is_valid`](Self::is_valid): an
/// invalid list counts as absent.
pub(super) struct Descriptors<'a>(&'a RawValue);

impl Descriptors<'_> {
    /// Whether it is a list of descriptors only.
    pub(super) fn is_valid(&self) -> bool {
        self.each(drop).is_ok()
    }

    /// Passes each to `take`, up to the first invalid one.
    pub(super) fn each(&self, take: impl FnMut(Descriptor)) -> serde_json::Result<()> {
        serde_json::Deserializer::from_str(self.0.get()).deserialize_seq(Each(take))
    }
}

struct Each<F>(F);

impl<'de, F: FnMut(Descriptor)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(descriptor) = list.next_element()? {
            (self.0)(descriptor);
        }
        Ok(())
    }
}

fn listed<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<Descriptors<'a>>, D::Error>
where
    D: Deserializer<'de>,
{
    let list = <&'de RawValue>::deserialize(deserializer)?;
    Ok(Some(Descriptors(list)))
}

fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

impl<'a> LenientManifest<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // serde would also read a struct from an array.
        let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
        serde_json::from_slice(bytes).ok().filter(|_| is_object)
    }

    /// The media type of the manifest: `declared`, if that is the type of a manifest; else its `mediaType`; else a
    /// declared vendor's type; else what clients would guess.
    pub(super) fn media_type(self, declared: Option<MediaType>) -> MediaType {
        match (declared, &self.media_type) {
            (Some(declared), _) if declared.is_known_manifest() => declared,
            (_, Some(own)) => own.clone(),
            (Some(declared), None) if declared.is_vendors() => declared,
            (Some(declared), None) if !declared.is_generic() => self.guess().unwrap_or(declared),
            _ => self.guess().unwrap_or(MediaType::OCI_MANIFEST),
        }
    }

    /// The media type by the fields.
    pub(super) fn guess(&self) -> Option<MediaType> {
        let is_list = |list: &Option<Descriptors<'_>>| list.as_ref().is_some_and(Descriptors::is_valid);
        if self.schema_version == Some(1) {
            Some(MediaType::DOCKER_SCHEMA1)
        } else if is_list(&self.manifests) {
            Some(MediaType::OCI_INDEX)
        } else if self.config.is_some() || is_list(&self.layers) {
            Some(MediaType::OCI_MANIFEST)
        } else {
            None
        }
    }
}
