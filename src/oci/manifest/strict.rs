//! The checks of a pushed manifest (end-7).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::ManifestError;
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::MediaType;

/// The image spec needs some 5 levels; the rest is for other fields. Clients' parsers have limits of their own, and
/// must be able to read what pounce accepts.
const MAX_DEPTH: usize = 64;

/// The fields that have a meaning.
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

/// The fields that the image spec defines. Others are stored, and ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StrictManifest {
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
    /// Of schema 1.
    fs_layers: Option<IgnoredAny>,
}

/// Checks the encoding and the nesting.
pub(super) fn check_text(bytes: &[u8]) -> Result<(), ManifestError> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(ManifestError::NotUtf8);
    }
    if depth(bytes) > MAX_DEPTH { Err(ManifestError::TooDeep) } else { Ok(()) }
}

/// The error for bytes that are not a JSON object, with the parser's message if there is one.
pub(super) fn syntax_error(bytes: &[u8], declared: Option<MediaType>) -> ManifestError {
    let media_type = declared.unwrap_or(MediaType::OCI_MANIFEST);
    match serde_json::from_slice::<StrictManifest>(bytes) {
        Ok(_) => ManifestError::NotJson,
        Err(error) => ManifestError::Form { media_type, why: error.to_string() },
    }
}

/// Checks the fields. `media_type` is the manifest's, `declared` the `Content-Type`.
pub(super) fn check(bytes: &[u8], declared: Option<MediaType>, media_type: &MediaType) -> Result<(), ManifestError> {
    let form = |why: String| ManifestError::Form { media_type: media_type.clone(), why };
    let parsed: StrictManifest = serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?;
    match (declared, &parsed.media_type) {
        (Some(declared), Some(inside)) if declared != *inside => {
            return Err(ManifestError::TwoTypes { declared, inside: inside.clone() });
        }
        // A type is guessed for upstreams only.
        (Some(declared), None) if declared != *media_type && !declared.is_generic() => {
            return Err(ManifestError::Unsupported(declared));
        }
        _ => {}
    }
    #[expect(clippy::zero_sized_map_values, reason = "serde reads the keys of an object only as a map")]
    let keys: BTreeMap<String, IgnoredAny> = serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?;
    // Some clients' parsers ignore the case of keys, so that another spelling would mean something else to them.
    let misspelt = keys.keys().find(|key| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(key) && field != key));
    if let Some(key) = misspelt {
        return Err(form(format!("{key} is written in another way")));
    }
    let is_index = media_type.is_index();
    if !is_index && !media_type.is_image() {
        return Err(ManifestError::Unsupported(media_type.clone()));
    }
    let wrong = if parsed.schema_version != 2 {
        "schemaVersion must be 2"
    } else if parsed.fs_layers.is_some() {
        "fsLayers belongs to schema 1"
    } else if is_index && (parsed.config.is_some() || parsed.layers.is_some()) {
        // Clients would disagree on what it is.
        "an index has neither config nor layers"
    } else if !is_index && parsed.manifests.is_some() {
        "an image manifest has no manifests"
    } else if !is_index && parsed.config.is_none() {
        "config is missing"
    } else if is_index && !keys.contains_key("manifests") {
        "manifests is missing"
    } else {
        return Ok(());
    };
    Err(form(wrong.to_owned()))
}

/// How deep arrays and objects are nested, if the bytes are JSON.
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
