//! Descriptors: references from one piece of content to another.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::digest::Digest;
use super::media_type::MediaType;
use super::platform::Platform;

/// A reference to a blob or a manifest (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

/// The fields that pounce uses.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    MediaType,
    Digest,
    Size,
    Platform,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Descriptor {
    /// Reads an object. Not derived, because serde would also read a descriptor from an array, and `#[serde(flatten)]`,
    /// which refuses arrays, keeps all other fields in memory, at thirty times their size.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Descriptor, A::Error> {
        let (mut media_type, mut digest, mut size, mut platform) = (None, None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::MediaType => once("mediaType", &mut media_type, map.next_value()?)?,
                Field::Digest => once("digest", &mut digest, map.next_value()?)?,
                Field::Size => once("size", &mut size, map.next_value()?)?,
                Field::Platform => {
                    let text: Box<RawValue> = map.next_value()?;
                    once("platform", &mut platform, Platform::lenient(&text))?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Descriptor {
            media_type: media_type.ok_or_else(|| A::Error::missing_field("mediaType"))?,
            digest: digest.ok_or_else(|| A::Error::missing_field("digest"))?,
            size: size.ok_or_else(|| A::Error::missing_field("size"))?,
            platform: platform.flatten(),
        })
    }
}

fn once<T, E: Error>(name: &'static str, field: &mut Option<T>, value: T) -> Result<(), E> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

impl Descriptor {
    /// The content's media type.
    #[must_use]
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The content's digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The platform of an index's entry, if the index names it.
    #[must_use]
    pub const fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// The content's size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}
