//! What a request did, and the request itself.

use std::borrow::Cow;

use uuid::Uuid;

use crate::config::EventAction;
use crate::oci::{Digest, Manifest, RepositoryName, Tag};

/// The media type of blobs, whatever a manifest says, as in distribution.
const BLOB: &str = "application/octet-stream";

/// What a request did in a repository.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// What the client did.
    pub action: EventAction,
    /// The repository.
    pub repository: RepositoryName,
    /// The content that it is about.
    pub content: Content,
    /// The tags by which a manifest was pulled, that name it by a push, or that were deleted.
    pub tags: Vec<Tag>,
}

/// The content that an occurrence is about.
#[derive(Clone, Debug)]
pub enum Content {
    /// A manifest that was pushed or pulled.
    Manifest(Manifest),
    /// A blob that was pushed, pulled or mounted.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes, if it is known.
        size: Option<u64>,
        /// The repository that it was mounted from.
        from: Option<RepositoryName>,
    },
    /// A manifest or a blob that was deleted; `None` for tags alone.
    Deleted(Option<Digest>),
}

impl Occurrence {
    /// The media type of its target, which endpoints can ignore; empty for deletes.
    pub(super) fn media_type(&self) -> &str {
        match &self.content {
            Content::Manifest(manifest) => manifest.media_type().as_str(),
            Content::Blob { .. } => BLOB,
            Content::Deleted(_) => "",
        }
    }
}

/// The request that did it.
#[derive(Clone, Debug)]
pub struct Requested<'a> {
    /// Its id (`X-Request-Id`).
    pub id: Uuid,
    /// The client's address, with its port unless a proxy is between.
    pub addr: String,
    /// The host that the client called.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The beginning of `User-Agent`.
    pub user_agent: Cow<'a, str>,
    /// The user, if the client is not anonymous.
    pub user: Option<&'a str>,
    /// The URL of `/v2/` for this client, with a slash at its end.
    pub base: String,
}
