//! Pushing blobs (end-4 to end-6, end-11, end-13, end-14).
//!
//! Where the digest is known before the first byte, a blob goes straight to its final key, as a fill does ([`direct`]).
//! Otherwise its bytes are collected under the upload's own keys ([`chunks`]) and moved when the digest is known
//! ([`commit`]). What ties the requests of an upload together is their URL's [`state`]; a replica remembers nothing of
//! it. The latest of them is found in the bucket ([`tail`]).

mod body;
mod buffer;
mod chunks;
mod commit;
mod direct;
mod intake;
mod mount;
mod places;
mod racing;
mod sender;
mod state;
mod sweep;
mod tail;

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::Registry;
use super::failure::of_store;
use crate::oci::{Algorithm, ChunkRange, Digest, Error, ErrorCode, RepositoryName};

#[cfg(feature = "internals")]
pub(crate) use state::{fuzz as fuzz_state, measured as measured_state};

pub use body::BlobBody;
pub use mount::Mounted;
pub use places::{Pusher, Turn};

use places::Places;
use racing::Racing;
use sender::PARALLEL_IN_ALL;
use state::{Seal, State};

/// What all uploads of a registry share.
#[derive(Debug)]
pub(super) struct Uploads {
    seal: Seal,
    /// Places for parts on their way.
    parts: Arc<Semaphore>,
    /// Places for bodies, and memory for their bytes.
    places: Places,
    racing: Racing,
}

/// An upload, as a request's URL names it.
#[derive(Clone, Copy, Debug)]
pub struct UploadRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The upload.
    pub id: Uuid,
    /// The sealed state.
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
    /// Whose they are.
    pub pusher: Pusher,
}

impl ChunkRequest {
    /// No bytes.
    fn empty(pusher: Pusher) -> Self {
        Self { pusher, range: None, len: Some(0), body: futures_util::stream::empty().boxed() }
    }
}

/// How far an upload is, and under which state it goes on.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The upload.
    pub id: Uuid,
    /// The sealed state, for the URL.
    pub state: String,
    /// How many bytes there are.
    pub offset: u64,
}

/// What became of bytes for an upload.
#[derive(Clone, Debug)]
pub enum Pushed {
    /// They were taken, and the upload goes on.
    Accepted(Progress),
    /// They belong elsewhere in the blob than where the upload is.
    OutOfOrder(Progress),
    /// The blob is the repository's.
    Stored,
}

/// Why a request adds nothing to an upload.
enum Halt {
    /// A later request brought the upload to this state.
    Superseded(Box<State>),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Uploads {
    /// `secret` signs states.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            seal: Seal::new(secret),
            parts: Arc::new(Semaphore::new(PARALLEL_IN_ALL)),
            places: Places::new(),
            racing: Racing::default(),
        }
    }

    /// A place for a blob of an upstream that comes as a push does, if there is one now.
    pub(super) fn turn_now(&self) -> Option<Arc<Turn>> {
        self.places.now(&Pusher::Upstream)
    }

    /// The same, for a copy that can wait.
    pub(super) async fn turn_at_last(&self) -> Arc<Turn> {
        self.places.at_last(&Pusher::Upstream).await
    }
}

impl Registry {
    /// A place among those whose bodies are read, for a manifest.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: there was none for a while.
    pub async fn turn_to_push(&self, pusher: &Pusher) -> Result<Arc<Turn>, Error> {
        self.inner.uploads.places.soon(pusher).await
    }

    /// Begins an upload (end-4a, end-4c). Nothing is written for it yet.
    ///
    /// # Errors
    /// `UNSUPPORTED`: the registry is read-only.
    pub fn begin_upload(&self, name: &RepositoryName, algorithm: Algorithm) -> Result<Progress, Error> {
        self.writable()?;
        Ok(self.progress(name, Uuid::new_v4(), &State::new(algorithm)))
    }

    /// Takes the next bytes of an upload (end-5).
    ///
    /// # Errors
    /// - `BLOB_UPLOAD_UNKNOWN`: the state is not one of this upload's, or the upload was ended.
    /// - `BLOB_UPLOAD_INVALID`, `SIZE_INVALID`: the bytes are not those that were announced.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn push_chunk(&self, upload: UploadRequest<'_>, chunk: ChunkRequest) -> Result<Pushed, Error> {
        self.writable()?;
        let mut state = self.opened(upload)?;
        if out_of_order(&chunk, &state) {
            state = self.newest(upload, state).await?;
            if out_of_order(&chunk, &state) {
                return Ok(self.out_of_order(upload, &state));
            }
        }
        match self.extend(upload, state, chunk).await {
            Ok(state) => {
                let progress = self.progress(upload.name, upload.id, &state);
                Ok(Pushed::Accepted(progress))
            }
            Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Ends an upload (end-6), perhaps with its last bytes, or all of them. Asked again, it answers the same, if the
    /// blob is there. Without bytes, it may be asked at any of the upload's locations.
    ///
    /// # Errors
    /// As [`push_chunk`](Self::push_chunk), and `DIGEST_INVALID`: the bytes have another digest; none
    /// of them is kept.
    pub async fn close_upload(
        &self,
        upload: UploadRequest<'_>,
        digest: &Digest,
        chunk: ChunkRequest,
    ) -> Result<Pushed, Error> {
        self.writable()?;
        let mut state = self.opened(upload)?;
        let is_empty = chunk.range.is_none() && chunk.len == Some(0);
        // All bytes at the first location are a whole blob, unless the client says that they are a chunk.
        let looks = state.offset == 0 && (is_empty || chunk.range.is_some());
        if looks || out_of_order(&chunk, &state) {
            state = self.newest(upload, state).await?;
            if out_of_order(&chunk, &state) {
                return Ok(self.out_of_order(upload, &state));
            }
        }
        if state.offset == 0 {
            let allowed = async {
                if looks {
                    return Ok(());
                }
                self.require_not_cancelled(upload).await
            };
            let stored = self.store_direct(upload.name, digest, chunk, allowed);
            Box::pin(stored).await?;
            return Ok(Pushed::Stored);
        }
        let pusher = chunk.pusher.clone();
        match self.close(upload, state, digest, chunk).await {
            Ok(()) => Ok(Pushed::Stored),
            Err(Halt::Superseded(newer)) if is_empty => {
                match self.close(upload, *newer, digest, ChunkRequest::empty(pusher)).await {
                    Ok(()) => Ok(Pushed::Stored),
                    Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
                    Err(Halt::Failed(error)) => Err(error),
                }
            }
            Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Takes a blob in one request (end-4b).
    ///
    /// # Errors
    /// As [`close_upload`](Self::close_upload).
    pub async fn push_blob(&self, name: &RepositoryName, digest: &Digest, chunk: ChunkRequest) -> Result<(), Error> {
        self.writable()?;
        self.store_direct(name, digest, chunk, async { Ok(()) }).await
    }

    /// How far an upload is (end-13), at whichever of its locations that is asked.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`, `UNAVAILABLE`.
    pub async fn upload_status(&self, upload: UploadRequest<'_>) -> Result<Progress, Error> {
        let state = self.newest(upload, self.opened(upload)?).await?;
        if state.offset > 0 {
            self.require_alive(upload, &state).await?;
        }
        Ok(self.progress(upload.name, upload.id, &state))
    }

    /// Gives an upload up (end-14).
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`, `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn cancel_upload(&self, upload: UploadRequest<'_>) -> Result<(), Error> {
        self.writable()?;
        let state = self.newest(upload, self.opened(upload)?).await?;
        self.require_alive(upload, &state).await?;
        let (registry, name, id) = (self.clone(), upload.name.clone(), upload.id);
        let cancel = async move {
            let upload = UploadRequest { name: &name, id, state: "" };
            registry.cancel(upload, &state).await.map_err(of_store)
        };
        self.inner.background.to_its_end(cancel).await
    }

    fn opened(&self, upload: UploadRequest<'_>) -> Result<State, Error> {
        let UploadRequest { name, id, state } = upload;
        let opened = self.inner.uploads.seal.open(state, name, &id);
        opened.ok_or_else(|| upload_unknown(upload))
    }

    fn out_of_order(&self, upload: UploadRequest<'_>, state: &State) -> Pushed {
        Pushed::OutOfOrder(self.progress(upload.name, upload.id, state))
    }

    fn progress(&self, name: &RepositoryName, id: Uuid, state: &State) -> Progress {
        Progress { id, state: self.inner.uploads.seal.close(state, name, &id), offset: state.offset }
    }
}

fn out_of_order(chunk: &ChunkRequest, state: &State) -> bool {
    chunk.range.is_some_and(|range| range.start != state.offset)
}

fn upload_unknown(upload: UploadRequest<'_>) -> Error {
    let message = format!("{} has no upload {} in this state", upload.name, upload.id);
    Error::new(ErrorCode::BlobUploadUnknown, message)
}
