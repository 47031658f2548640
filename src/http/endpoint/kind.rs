//! The kind of a request, for the metrics.

use super::Endpoint;
use crate::telemetry::RequestKind;

impl Endpoint {
    /// The kind of a request, of which there are few.
    pub(in crate::http) const fn kind(&self) -> RequestKind {
        match self {
            Self::Support => RequestKind::Support,
            Self::Token => RequestKind::Token,
            Self::PullBlob { .. } => RequestKind::PullBlob,
            Self::PullSignedBlob { .. } => RequestKind::PullSignedBlob,
            Self::PullManifest { .. } => RequestKind::PullManifest,
            Self::BeginUpload { .. } => RequestKind::BeginUpload,
            Self::PushBlob { .. } => RequestKind::PushBlob,
            Self::PushChunk(_) => RequestKind::PushChunk,
            Self::CloseUpload { .. } => RequestKind::CloseUpload,
            Self::PushManifest { .. } => RequestKind::PushManifest,
            Self::ListTags { .. } => RequestKind::ListTags,
            Self::DeleteManifest { .. } => RequestKind::DeleteManifest,
            Self::DeleteBlob { .. } => RequestKind::DeleteBlob,
            Self::Mount { .. } => RequestKind::Mount,
            Self::ListReferrers { .. } => RequestKind::ListReferrers,
            Self::UploadStatus(_) => RequestKind::UploadStatus,
            Self::CancelUpload(_) => RequestKind::CancelUpload,
            Self::Catalog { .. } => RequestKind::Catalog,
            Self::Upstreams => RequestKind::Upstreams,
        }
    }
}
