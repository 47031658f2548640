//! What clients ask of an upload, and what they are told.

use futures_util::StreamExt;
use uuid::Uuid;

use super::state::UploadState;
use crate::oci::{ChunkRange, Error, ErrorCode, RepositoryName};
use crate::registry::ingest::{BlobBody, Pusher};
use crate::store::StoreError;

/// An upload, as a request's URL names it.
#[derive(Clone, Copy, Debug)]
pub struct UploadRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The upload.
    pub id: Uuid,
    /// The signed state.
    pub state: &'a str,
}

/// Bytes for an upload.
pub struct ChunkRequest {
    /// Where in the blob they belong, if the client says so.
    pub range: Option<ChunkRange>,
    /// How many they are, if the client says so.
    pub len: Option<u64>,
    /// The bytes.
    pub body: BlobBody,
    /// The client that pushes them.
    pub pusher: Pusher,
}

impl ChunkRequest {
    /// No bytes.
    pub(super) fn empty(pusher: Pusher) -> Self {
        Self { pusher, range: None, len: Some(0), body: futures_util::stream::empty().boxed() }
    }

    /// How many bytes the client announced.
    pub(super) fn announced(&self) -> Option<u64> {
        self.range.map(|range| range.len).or(self.len)
    }

    /// Whether the bytes belong elsewhere in the blob than where the upload is.
    pub(super) fn is_out_of_order(&self, state: &UploadState) -> bool {
        self.range.is_some_and(|range| range.start != state.offset)
    }
}

/// How far an upload is, and under which state it goes on.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The upload.
    pub id: Uuid,
    /// The signed state, for the URL.
    pub state: String,
    /// How many bytes there are.
    pub offset: u64,
}

/// What became of bytes for an upload.
#[derive(Clone, Debug)]
pub enum Pushed {
    /// They were appended, and the upload goes on.
    Accepted(Progress),
    /// They belong elsewhere in the blob than where the upload is.
    OutOfOrder(Progress),
    /// The blob is the repository's.
    Stored,
}

/// Why a request adds nothing to an upload.
pub(super) enum Halt {
    /// A later request brought the upload to this state.
    Superseded(Box<UploadState>),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) fn upload_unknown(upload: UploadRequest<'_>) -> Error {
    let (name, id) = (upload.name, upload.id);
    let why = "it ended, or a replica with another http.secret began it";
    let message = format!("{name} has no upload {id} in this state: {why}");
    Error::new(ErrorCode::BlobUploadUnknown, message)
}
