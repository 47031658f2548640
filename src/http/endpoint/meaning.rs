//! What follows from what a request asks for.

use std::fmt;

use uuid::Uuid;

use super::Endpoint;
use crate::auth::Scope;
use crate::oci::{Action, Digest, Reference, RepositoryName};

impl Endpoint {
    /// What a request needs; `None` where it is for asking who one is.
    pub(in crate::http) fn scope(&self) -> Option<Scope<'_>> {
        let (name, action) = match self {
            Self::Token => return None,
            Self::Support => return Some(Scope::Login),
            Self::Catalog { .. } => return Some(Scope::Catalog),
            Self::Mount { name, from, .. } => {
                let from = from.as_ref();
                return Some(Scope::Mount { name, from });
            }
            Self::PullBlob { name, .. }
            | Self::PullManifest { name, .. }
            | Self::ListTags { name, .. }
            | Self::ListReferrers { name, .. } => (name, Action::Pull),
            Self::BeginUpload { name, .. } | Self::PushBlob { name, .. } | Self::PushManifest { name, .. } => {
                (name, Action::Push)
            }
            // What was begun can be ended by whoever could begin it.
            Self::PushChunk(upload)
            | Self::CloseUpload { upload, .. }
            | Self::UploadStatus(upload)
            | Self::CancelUpload(upload) => (&upload.name, Action::Push),
            Self::DeleteManifest { name, .. } | Self::DeleteBlob { name, .. } => (name, Action::Delete),
        };
        Some(Scope::Repository(name, action))
    }

    /// Whether a request's body is for anything.
    pub(in crate::http) const fn takes_body(&self) -> bool {
        matches!(
            self,
            Self::PushBlob { .. } | Self::PushChunk(_) | Self::CloseUpload { .. } | Self::PushManifest { .. }
        )
    }

    /// What the log says that a request is about.
    pub(in crate::http) fn subject(&self) -> (Option<&RepositoryName>, Option<Subject>) {
        let digest = |digest: &Digest| Some(Subject::Reference(Reference::Digest(*digest)));
        match self {
            Self::Support | Self::Token | Self::Catalog { .. } => (None, None),
            Self::PullBlob { name, digest: of }
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

/// What a request is about, in a repository.
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
