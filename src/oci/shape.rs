//! The JSON of a manifest, read as far as it tells what the manifest is.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::manifest::{is_manifests, says_something};
use super::{Descriptor, MediaType};

/// The fields of any kind of manifest that tell what it is. Lenient, because pounce passes on what the upstream has: a
/// field of an unexpected form counts as absent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Shape<'a> {
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

/// A list of descriptors as text, because as values it takes more memory. One that is not valid counts as absent, which
/// is found out by those that need to know.
pub(super) struct Descriptors<'a>(&'a RawValue);

impl Descriptors<'_> {
    /// Whether it is a list, of descriptors only.
    pub(super) fn is_valid(&self) -> bool {
        self.each(drop).is_ok()
    }

    /// Gives each to `take`, one after the other, up to one that is not valid.
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

impl<'a> Shape<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        // serde takes an array for the fields of a struct, too.
        let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
        serde_json::from_slice(bytes).ok().filter(|_| is_object)
    }

    /// The type of a manifest that came with `declared`: what is declared, where that is a manifest's type, then what
    /// the manifest says of itself, then a vendor's type, then what clients would guess.
    pub(super) fn media_type(self, declared: Option<MediaType>) -> MediaType {
        match (declared, &self.media_type) {
            (Some(declared), _) if is_manifests(&declared) => declared,
            (_, Some(own)) => own.clone(),
            (Some(declared), None) if declared.as_str().starts_with("application/vnd.") => declared,
            (Some(declared), None) if says_something(&declared) => self.guess().unwrap_or(declared),
            _ => self.guess().unwrap_or(MediaType::OCI_MANIFEST),
        }
    }

    fn guess(&self) -> Option<MediaType> {
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
