//! Every digest that a manifest names, in whatever member.
//!
//! [`Manifest::links`](super::Manifest::links) knows the members of images and indexes. Here, more counts: other kinds of
//! artifacts name blobs in members of their own, and what is not recognized as needed is deleted as garbage. So every
//! member `digest` or `blobSum` (schema 1) counts, at any depth, except in annotations, which name content of other
//! registries.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::oci::digest::Digest;

/// Every digest that a manifest of these bytes names, its subject's too, as often as it does.
///
/// # Errors
/// It is not JSON, or nested too deep.
pub fn named_digests(bytes: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    let mut digests = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Walk { found: &mut digests, is_digest: false }.deserialize(&mut json)?;
    json.end()?;
    Ok(digests)
}

/// Walks through any JSON.
struct Walk<'a> {
    found: &'a mut Vec<Digest>,
    /// This is the value of a member that names content.
    is_digest: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.is_digest {
            self.found.extend(text.parse::<Digest>());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Walk { found: &mut *self.found, is_digest: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            if name == "annotations" {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let is_digest = name == "digest" || name == "blobSum";
            members.next_value_seed(Walk { found: &mut *self.found, is_digest })?;
        }
        Ok(())
    }
}
