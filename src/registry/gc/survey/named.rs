//! What a manifest needs: every digest that it names, in whatever member.

use bytes::Bytes;

use super::codec::Digests;
use crate::oci::{Digest, Manifest, ManifestError, named_digests};

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
        let digests = named_digests(bytes).map_err(|error| error.to_string())?;
        Ok(Self { digests: Digests::new(digests), subject })
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
