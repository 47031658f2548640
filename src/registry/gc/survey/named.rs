//! What a manifest needs: every digest that it names, in whatever member.
//!
//! [`Manifest::links`](crate::oci::Manifest::links) knows the members of images and indexes. Here, more counts: other
//! kinds of artifacts name blobs in members of their own, and what is not recognized as needed is deleted. So every
//! member `digest` or `blobSum` (schema 1) counts, at any depth, except in annotations, which name content of other
//! registries.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::codec::Digests;
use crate::oci::{Digest, Manifest, ManifestError};

/// What a manifest says of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) digests: Digests,
    pub(super) subject: Option<Digest>,
}

impl Named {
    /// Reads a manifest of this digest.
    ///
    /// # Errors
    /// Why these bytes are no manifest, or not that one.
    pub(super) fn read(bytes: &Bytes, digest: Digest) -> Result<Self, String> {
        let subject = match Manifest::new(bytes.clone(), None, Some(digest)) {
            Ok(manifest) => manifest.referrer().map(|(subject, _)| subject),
            // Its digest is that of a part of it.
            Err(ManifestError::Schema1) => None,
            Err(error) => return Err(error.to_string()),
        };
        let mut digests = Vec::new();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let found = Walk { found: &mut digests, is_digest: false }.deserialize(&mut json);
        found.and_then(|()| json.end()).map_err(|error| error.to_string())?;
        Ok(Self { digests: Digests::new(digests), subject })
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::Algorithm;

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn read(manifest: &Value) -> Result<Named, String> {
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        Named::read(&bytes, digest)
    }

    fn entry(n: u8) -> Value {
        json!({"mediaType": "a/b", "digest": digest(n), "size": 1, "annotations": {"digest": digest(99)}})
    }

    #[test]
    fn every_kind_of_manifest_names_what_it_needs() {
        let named = |of: &[u8]| Digests::new(of.iter().map(|n| digest(*n)).collect());
        let image = json!({"schemaVersion": 2, "config": entry(1), "layers": [entry(2), entry(3), entry(2)]});
        let index = json!({"schemaVersion": 2, "manifests": [entry(1), entry(2)], "subject": entry(3)});
        let artifact = json!({"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "blobs": [entry(4)]});
        let schema1 = json!({"schemaVersion": 1, "fsLayers": [{"blobSum": digest(5)}], "signatures": []});
        let empty = json!({"annotations": {"digest": digest(1)}, "digest": 7, "layers": [null, 1.5, -1, true]});
        for (manifest, expected) in
            [(&image, &[1, 2, 3][..]), (&index, &[1, 2, 3]), (&artifact, &[4]), (&schema1, &[5]), (&empty, &[])]
        {
            assert_eq!(read(manifest).unwrap().digests, named(expected), "{manifest}");
        }
        assert_eq!(read(&index).unwrap().subject, Some(digest(3)));
        assert_eq!(read(&image).unwrap().subject, None);
    }

    #[test]
    fn what_is_no_manifest_is_said() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for text in ["", "{", "[]x", &deep, "null {}"] {
            let bytes = Bytes::from(text.to_owned());
            let own = Digest::of(Algorithm::Sha256, &bytes);
            assert!(Named::read(&bytes, own).is_err(), "{text:.20}");
        }
        let other = Named::read(&Bytes::from_static(b"{}"), digest(1));
        assert!(other.unwrap_err().contains("digest"));
    }
}
