//! What a manifest must look like to be pushed (end-7). Stricter than what is passed on from an upstream: what is
//! accepted here is vouched for.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::manifest::says_something;
use super::{Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, ManifestError, MediaType};

/// The image spec needs some 5 levels; the rest is for fields of others. Clients' parsers have limits of their own, and
/// what one of them cannot read is not to be kept.
const MAX_DEPTH: usize = 64;

/// The names of the fields that mean something.
const FIELDS: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
    "fsLayers",
];

/// The fields that the image spec gives a meaning. Any others are kept, and mean nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    schema_version: u64,
    media_type: Option<MediaType>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "subject")]
    _subject: Option<Descriptor>,
    #[serde(rename = "artifactType")]
    _artifact_type: Option<String>,
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    /// Of schema 1, which was signed in another way.
    fs_layers: Option<IgnoredAny>,
}

impl Manifest {
    /// Takes bytes that a client pushes, under the digest that it names, or their SHA-256. `declared` is the
    /// `Content-Type`; without one, the manifest's `mediaType` counts.
    ///
    /// # Errors
    /// See [`ManifestError`].
    #[expect(
        clippy::zero_sized_map_values,
        reason = "serde reads a set from an array, and the keys of an object only as a map"
    )]
    pub fn pushed(bytes: &Bytes, declared: Option<MediaType>, expected: Option<Digest>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(ManifestError::NotUtf8);
        }
        if depth(bytes) > MAX_DEPTH {
            return Err(ManifestError::TooDeep);
        }
        // First, so that a client learns that its bytes were changed on the way.
        let manifest = match Self::new(bytes.clone(), declared.clone(), expected) {
            // What exactly is wrong with it, if there is more to say.
            Err(ManifestError::NotJson) => {
                let why = serde_json::from_slice::<Form>(bytes).err();
                let media_type = declared.unwrap_or(MediaType::OCI_MANIFEST);
                return Err(
                    why.map_or(ManifestError::NotJson, |why| ManifestError::Form { media_type, why: why.to_string() })
                );
            }
            other => other?,
        };
        let media_type = manifest.media_type();
        let wrong = |why: String| ManifestError::Form { media_type: media_type.clone(), why };
        let form: Form = serde_json::from_slice(manifest.bytes()).map_err(|error| wrong(error.to_string()))?;
        match (declared, &form.media_type) {
            (Some(declared), Some(inside)) if declared != *inside => {
                let inside = inside.clone();
                return Err(ManifestError::TwoTypes { declared, inside });
            }
            // What an upstream is forgiven is not made up for a client.
            (Some(declared), None) if declared != *media_type && says_something(&declared) => {
                return Err(ManifestError::Unsupported(declared));
            }
            _ => {}
        }
        let keys: BTreeMap<String, IgnoredAny> =
            serde_json::from_slice(manifest.bytes()).map_err(|error| wrong(error.to_string()))?;
        // Some clients' parsers do not tell capitals from small letters.
        let other = keys.keys().find(|key| {
            let meant = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(key));
            meant.is_some_and(|field| field != key)
        });
        if let Some(other) = other {
            return Err(wrong(format!("{other} is written in another way")));
        }
        form.check(media_type)?;
        if media_type.is_index() && !keys.contains_key("manifests") {
            return Err(wrong("manifests is missing".into()));
        }
        Ok(manifest)
    }
}

/// How many arrays and objects stand inside each other, if the bytes are JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Form {
    fn check(&self, media_type: &MediaType) -> Result<(), ManifestError> {
        let wrong = |why: &str| ManifestError::Form { media_type: media_type.clone(), why: why.into() };
        let is_index = media_type.is_index();
        let is_image = [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST].contains(media_type);
        if !is_index && !is_image {
            return Err(ManifestError::Unsupported(media_type.clone()));
        }
        if self.schema_version != 2 {
            return Err(wrong("schemaVersion must be 2"));
        }
        if self.fs_layers.is_some() {
            return Err(wrong("fsLayers belongs to schema 1"));
        }
        // One that could be read as either means different things to different clients.
        if is_index && (self.config.is_some() || self.layers.is_some()) {
            return Err(wrong("an index has neither config nor layers"));
        }
        if is_image && self.manifests.is_some() {
            return Err(wrong("an image manifest has no manifests"));
        }
        if is_image && self.config.is_none() {
            return Err(wrong("config is missing"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn push(text: &str, declared: Option<MediaType>) -> Result<Manifest, String> {
        let text = text.replace("EMPTY", &format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":0}}"#));
        Manifest::pushed(&Bytes::from(text), declared, None).map_err(|error| error.to_string())
    }

    #[test]
    fn manifests_of_the_field_are_taken() {
        let image = r#"{"schemaVersion":2,"config":EMPTY,"layers":[EMPTY],"x":[[[1]]]}"#;
        for media_type in [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST] {
            let manifest = push(image, Some(media_type.clone())).unwrap();
            assert_eq!(*manifest.media_type(), media_type);
        }
        assert!(push(r#"{"schemaVersion":2,"config":EMPTY,"layers":null}"#, None).is_ok());
        let index = r#"{"schemaVersion":2,"manifests":[],"subject":EMPTY}"#;
        assert_eq!(*push(index, None).unwrap().media_type(), MediaType::OCI_INDEX);
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        let image = Some(MediaType::OCI_MANIFEST);
        let deep = |levels| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"schemaVersion":2,"config":EMPTY,"x":"[\"{{","y":{open}1{close}}}"#)
        };
        assert!(push(&deep(63), None).is_ok());
        let deep = deep(64);
        let cases = [
            ("", image.clone(), "EOF while parsing"),
            ("[]", image.clone(), "invalid length"),
            ("[2,null,null,null,null,null,null,null,null]", image.clone(), "not a JSON object"),
            ("{}", image.clone(), "schemaVersion"),
            (r#"{"schemaVersion":2,"config":["a/b","DIGEST",0]}"#, image.clone(), "expected"),
            (r#"{"schemaVersion":2,"config":EMPTY,"Config":EMPTY}"#, image.clone(), "Config is written"),
            (r#"{"schemaVersion":2}"#, Some(MediaType::OCI_INDEX), "manifests is missing"),
            (r#"{"schemaVersion":1,"config":EMPTY}"#, image.clone(), "must be 2"),
            (r#"{"schemaVersion":2}"#, image.clone(), "config is missing"),
            (r#"{"schemaVersion":2,"config":EMPTY,"layers":[1]}"#, image.clone(), "invalid type"),
            (
                r#"{"schemaVersion":2,"config":EMPTY,"layers":[{"mediaType":"a/b","digest":"sha256:1","size":1}]}"#,
                image.clone(),
                "lower-case hex",
            ),
            (r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"x","size":-1}}"#, image.clone(), "digest"),
            (r#"{"schemaVersion":2,"config":EMPTY,"config":EMPTY}"#, image.clone(), "duplicate"),
            (r#"{"schemaVersion":2,"config":EMPTY,"manifests":[]}"#, image.clone(), "no manifests"),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, Some(MediaType::OCI_INDEX), "neither"),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":EMPTY}"#,
                image.clone(),
                "Content-Type",
            ),
            (r#"{"schemaVersion":2,"config":EMPTY}"#, "a/b".parse().ok(), "not a type of manifest"),
            (deep.as_str(), image, "64 levels"),
        ];
        for (text, declared, why) in cases {
            let error = push(text, declared).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let bytes = Bytes::from_static(b"{\"schemaVersion\":2,\"x\":\"\xff\"}");
        assert_eq!(Manifest::pushed(&bytes, None, None).unwrap_err(), ManifestError::NotUtf8);
    }
}
