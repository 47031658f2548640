//! The scope that an endpoint needs, and whether it takes a body.

use super::Endpoint;
use crate::auth::Scope;
use crate::oci::Action;

impl Endpoint {
    /// The scope that a request needs; `None` where it needs only an identity, or a signature.
    pub(in crate::http) fn scope(&self) -> Option<Scope<'_>> {
        let (name, action) = match self {
            Self::Token | Self::PullSignedBlob { .. } => return None,
            Self::Support => return Some(Scope::Login),
            Self::Catalog { .. } | Self::Upstreams => return Some(Scope::Catalog),
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
            // A client that may begin an upload may end it.
            Self::PushChunk(upload)
            | Self::CloseUpload { upload, .. }
            | Self::UploadStatus(upload)
            | Self::CancelUpload(upload) => (&upload.name, Action::Push),
            Self::DeleteManifest { name, .. } | Self::DeleteBlob { name, .. } => (name, Action::Delete),
        };
        Some(Scope::Repository(name, action))
    }

    /// Whether the request's body is used.
    pub(in crate::http) const fn takes_body(&self) -> bool {
        matches!(
            self,
            Self::PushBlob { .. } | Self::PushChunk(_) | Self::CloseUpload { .. } | Self::PushManifest { .. }
        )
    }
}
