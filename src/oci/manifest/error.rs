//! Why a manifest is not accepted.

use crate::oci::digest::Digest;
use crate::oci::media_type::MediaType;

/// Why bytes are not accepted as a manifest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// There are more than 4 MiB.
    #[error("the manifest has {0} bytes, which is more than 4 MiB")]
    TooLarge(usize),
    /// The bytes have another digest than the expected one.
    #[error("the manifest's digest is {actual}, not {expected}")]
    Digest {
        /// The expected digest.
        expected: Digest,
        /// The digest of the bytes.
        actual: Box<Digest>,
    },
    /// The manifest has schema 1, whose digest is that of a part of the bytes.
    #[error("the manifest is one of schema 1, whose digest leaves out its signatures")]
    Schema1,
    /// The bytes are not a JSON object.
    #[error("the manifest is not a JSON object")]
    NotJson,
    /// The bytes are not UTF-8.
    #[error("the manifest is not UTF-8")]
    NotUtf8,
    /// The JSON is nested too deep.
    #[error("the manifest is nested more than 64 levels deep")]
    TooDeep,
    /// The JSON is not a manifest of its media type.
    #[error("the manifest is not a valid {media_type}: {why}")]
    Form {
        /// The type.
        media_type: MediaType,
        /// What is wrong.
        why: String,
    },
    /// `Content-Type` and `mediaType` differ.
    #[error("the manifest's mediaType is {inside}, but its Content-Type is {declared}")]
    TwoTypes {
        /// The `Content-Type`.
        declared: MediaType,
        /// The `mediaType`.
        inside: MediaType,
    },
    /// The media type is not that of a manifest that pounce accepts.
    #[error(
        "{0} is not a type of manifest that this registry takes: push an OCI manifest or index, or a Docker \
         manifest (version 2, schema 2) or list"
    )]
    Unsupported(MediaType),
}
