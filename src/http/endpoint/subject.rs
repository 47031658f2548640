//! The subject of a request, for the access log.

use std::fmt;

use uuid::Uuid;

use super::Endpoint;
use crate::oci::{Digest, Reference, RepositoryName};

impl Endpoint {
    /// The repository of a request, and its subject there.
    pub(in crate::http) fn subject(&self) -> (Option<&RepositoryName>, Option<Subject>) {
        let digest = |digest: &Digest| Some(Subject::Reference(Reference::Digest(*digest)));
        match self {
            Self::Support | Self::Token | Self::Catalog { .. } | Self::Upstreams => (None, None),
            Self::PullBlob { name, digest: of }
            | Self::PullSignedBlob { name, digest: of, .. }
            | Self::PushBlob { name, digest: of }
            | Self::DeleteBlob { name, digest: of }
            | Self::ListReferrers { name, subject: of, .. }
            | Self::Mount { name, digest: of, .. } => (Some(name), digest(of)),
            Self::PullManifest { name, reference }
            | Self::PushManifest { name, reference, .. }
            | Self::DeleteManifest { name, reference } => (Some(name), Some(Subject::Reference(reference.clone()))),
            Self::BeginUpload { name, .. } | Self::ListTags { name, .. } => (Some(name), None),
            Self::CloseUpload { upload, digest: of } => (Some(&upload.name), digest(of)),
            Self::PushChunk(upload) | Self::UploadStatus(upload) | Self::CancelUpload(upload) => {
                (Some(&upload.name), Some(Subject::Upload(upload.id)))
            }
        }
    }
}

/// A subject in a repository.
#[derive(Clone, Debug)]
pub(in crate::http) enum Subject {
    /// A manifest or a blob.
    Reference(Reference),
    /// An upload.
    Upload(Uuid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Upload(id) => id.fmt(f),
        }
    }
}
