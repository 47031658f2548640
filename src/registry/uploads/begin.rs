//! Beginning an upload (end-4a, end-4c), a blob in one request (end-4b), mounting (end-11), and how far an upload is
//! (end-13).

use std::sync::Arc;

use uuid::Uuid;

use super::Uploads;
use super::request::{ChunkRequest, Progress, UploadRequest, upload_unknown};
use super::state::UploadState;
use crate::oci::{Algorithm, Digest, Error, ErrorCode, Hasher, RepositoryName};
use crate::registry::ingest::{BodyPermit, HashingBody, Pusher};

/// What became of a mount.
#[derive(Clone, Debug)]
pub enum Mounted {
    /// The blob is the repository's.
    Stored,
    /// There is no such blob to mount; an upload began instead.
    Begun(Progress),
}

impl Uploads {
    /// A permit to read the body of a pushed manifest.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: there was none for a while.
    pub async fn permit(&self, pusher: &Pusher) -> Result<Arc<BodyPermit>, Error> {
        self.writer.permits.acquire(pusher).await
    }

    /// Begins an upload (end-4a, end-4c). Nothing is written for it yet.
    ///
    /// # Errors
    /// `UNSUPPORTED`: the registry is read-only.
    pub fn begin(&self, name: &RepositoryName, algorithm: Algorithm) -> Result<Progress, Error> {
        self.changes.allow_push()?;
        Ok(self.progress(name, Uuid::new_v4(), &UploadState::new(algorithm)))
    }

    /// Mounts a blob from a repository, or from wherever it is (end-11).
    ///
    /// # Errors
    /// `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Mounted, Error> {
        self.changes.allow_push()?;
        let began = self.links.begin();
        let size = match from {
            // Only a blob that is in the bucket can be mounted, not one that the repository could pull from upstream.
            Some(source) => {
                let status = self.links.status_from_bucket(source, digest).await?;
                status.stored.filter(|_| status.member)
            }
            None => self.links.stored_size(digest).await?,
        };
        if let Some(size) = size {
            self.links.link_pushed(name, digest, size, began).await?;
            return Ok(Mounted::Stored);
        }
        self.begin(name, digest.algorithm()).map(Mounted::Begun)
    }

    /// Takes a blob in one request (end-4b).
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn push(&self, name: &RepositoryName, digest: &Digest, chunk: ChunkRequest) -> Result<(), Error> {
        self.changes.allow_push()?;
        self.store_whole(name, digest, chunk, async { Ok(()) }).await
    }

    /// Stores a chunk that is the whole blob, if that is `allowed`.
    pub(super) async fn store_whole(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        chunk: ChunkRequest,
        allowed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        if chunk.range.is_some_and(|range| range.start != 0) {
            return Err(Error::new(ErrorCode::RangeInvalid, "the first byte of a blob is byte 0"));
        }
        let announced = chunk.announced();
        let permit = self.writer.permits.acquire(&chunk.pusher).await?;
        let body = HashingBody::new(chunk.body, Hasher::new(digest.algorithm()), announced, permit);
        self.writer.store_or_verify(name, digest, body, allowed).await
    }

    /// How far an upload is (end-13), whichever of its URLs the client asks.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`, `UNAVAILABLE`.
    pub async fn status(&self, upload: UploadRequest<'_>) -> Result<Progress, Error> {
        let state = self.newest(upload, self.verified(upload)?).await?;
        if state.offset > 0 {
            self.require_alive(upload, &state).await?;
        }
        Ok(self.progress(upload.name, upload.id, &state))
    }

    /// The state in a request's URL.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`: it is not one of this upload's.
    pub(super) fn verified(&self, upload: UploadRequest<'_>) -> Result<UploadState, Error> {
        let state = self.signer.verify(upload.state, upload.name, &upload.id);
        state.ok_or_else(|| upload_unknown(upload))
    }

    pub(super) fn progress(&self, name: &RepositoryName, id: Uuid, state: &UploadState) -> Progress {
        Progress { id, state: self.signer.sign(state, name, &id), offset: state.offset }
    }
}
