//! Ending an upload whose bytes were collected: its blob appears under its digest, or nothing does.
//!
//! What is completed is under a key that only this multipart upload ever had, and consists of the parts that the state
//! vouches for; so it can be moved to the digest's key without reading it. Where that is not certain (an answer of the
//! store was lost, or the client closes with another algorithm than it announced), it is read and hashed once more
//! before it is moved.

use super::chunks::Received;
use super::state::{Chain, Data, State};
use super::{ChunkRequest, Halt, UploadRequest, upload_unknown};
use crate::oci::{Digest, Error, ErrorCode, Hasher};
use crate::registry::Registry;
use crate::registry::cache::Matter;
use crate::registry::failure::of_store;
use crate::store::{Completed, Key, MAX_PARTS, Multipart, Part};

use futures_util::StreamExt;

/// What stands at an upload's own key.
enum Collected {
    /// Just what the state vouches for.
    Vouched,
    /// Something; or nothing.
    Unknown,
}

impl Registry {
    pub(super) async fn close(
        &self,
        upload: UploadRequest<'_>,
        state: State,
        digest: &Digest,
        chunk: ChunkRequest,
    ) -> Result<(), Halt> {
        let before = state.clone();
        let received = match self.receive(upload, state, chunk, Some(digest)).await {
            Ok(received) => Ok(received),
            Err(Halt::Failed(error)) => Err(error),
            Err(superseded) => return Err(superseded),
        };
        let (registry, name, id) = (self.clone(), upload.name.clone(), upload.id);
        let digest = *digest;
        // In turn with whoever repeats the request: a client that gave up waiting, say.
        let end = async move {
            let upload = UploadRequest { name: &name, id, state: "" };
            let end = registry.end(upload, &before, received, &digest);
            let matter = Matter::Upload(id);
            registry.inner.cache.alone(matter, Box::pin(end)).await
        };
        Ok(self.inner.background.to_its_end(end).await?)
    }

    async fn end(
        &self,
        upload: UploadRequest<'_>,
        before: &State,
        received: Result<Received, Error>,
        digest: &Digest,
    ) -> Result<(), Error> {
        let stored = match received {
            Ok(received) => {
                let (size, scratch) = (received.state.offset, received.state.scratch);
                let committed = self.commit(upload, received, digest).await;
                committed.map(|()| (size, scratch))
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok((size, scratch)) => {
                self.blob_pushed(upload.name, digest, size).await?;
                if scratch {
                    self.sweep_later(upload);
                }
                Ok(())
            }
            // Ended before; by the same request perhaps, whose answer was lost.
            Err(error) if error.code() == ErrorCode::BlobUploadUnknown => {
                let known = self.known_now(upload.name, digest).await?;
                if known.linked && known.stored.is_some() { Ok(()) } else { Err(error) }
            }
            Err(error) => {
                if error.code() == ErrorCode::DigestInvalid
                    && let Err(error) = self.discard(upload, before).await
                {
                    tracing::warn!(repository = %upload.name, %error, "an upload was left over in the bucket");
                }
                Err(error)
            }
        }
    }

    async fn commit(&self, upload: UploadRequest<'_>, received: Received, digest: &Digest) -> Result<(), Error> {
        let Received { mut state, rest, mut sender, turn: _turn, .. } = received;
        let store = &self.inner.store;
        let hashed = state.hasher.algorithm() == digest.algorithm();
        if hashed {
            require(digest, state.hasher.clone().finish())?;
        }
        let present = self.stored_size(digest).await?.is_some();
        if state.data.is_none() {
            if !hashed {
                let mut again = Hasher::new(digest.algorithm());
                rest.pieces().for_each(|piece| again.update(piece));
                require(digest, again.finish())?;
            }
            if !present {
                let (len, (source, _room)) = (rest.len(), rest.into_source());
                let put = store.put_blob(Key::Blob(digest), len, source).await;
                put.map_err(of_store)?;
            }
            return Ok(());
        }
        if present && hashed {
            // A state can be used again, but not to bring back what was deleted since.
            self.require_alive(upload, &state).await?;
            return self.discard(upload, &state).await.map_err(of_store);
        }
        let sent = match rest.len() {
            0 => Ok(()),
            _ => self.send_rest(upload, &mut sender, &mut state, rest).await,
        };
        let collected = match sent {
            Ok(()) => self.complete(upload, &state).await?,
            // A request before completed it, and did not come to the end.
            Err(error) if error.code() == ErrorCode::BlobUploadUnknown => Collected::Unknown,
            Err(error) => return Err(error),
        };
        let vouched = matches!(collected, Collected::Vouched);
        if let Some(mut sender) = sender {
            sender.disown();
        }
        self.put_in_place(upload, &state, digest, vouched && hashed).await
    }

    /// Completes the multipart upload of the parts that the state vouches for, and of no others.
    async fn complete(&self, upload: UploadRequest<'_>, state: &State) -> Result<Collected, Error> {
        let data = state.data.as_ref().ok_or_else(|| upload_unknown(upload))?;
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let multipart = self.inner.store.resume(key, data.upload_id.clone());
        let Some(parts) = vouched_parts(&multipart, data).await? else {
            return Ok(Collected::Unknown);
        };
        match multipart.try_complete(parts).await.map_err(of_store)? {
            Completed::Done => Ok(Collected::Vouched),
            Completed::Gone => Ok(Collected::Unknown),
            Completed::Refused(error) => {
                // Another request's part since we looked, or a rule of the store's own, which the client cannot meet.
                vouched_parts(&multipart, data).await?;
                Err(of_store(error))
            }
        }
    }

    /// Moves what was completed to the digest's key.
    async fn put_in_place(
        &self,
        upload: UploadRequest<'_>,
        state: &State,
        digest: &Digest,
        vouched: bool,
    ) -> Result<(), Error> {
        let data = state.data.as_ref().ok_or_else(|| upload_unknown(upload))?;
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let store = &self.inner.store;
        if !vouched {
            let (actual, len) = self.hash(key, digest, upload).await?;
            require(digest, actual)?;
            // It was completed by another state than this one, of more bytes or fewer.
            if len != state.offset {
                return Err(upload_unknown(upload));
            }
            if self.stored_size(digest).await?.is_some() {
                return store.delete(key).await.map_err(of_store);
            }
        }
        let moved = store.relocate(key, Key::Blob(digest), state.offset).await;
        if moved.map_err(of_store)? {
            return Ok(());
        }
        // A retried rename finds nothing when the first attempt did its work unheard.
        let there = store.head(Key::Blob(digest)).await.map_err(of_store)?;
        there.map(drop).ok_or_else(|| upload_unknown(upload))
    }

    async fn hash(&self, key: Key<'_>, digest: &Digest, upload: UploadRequest<'_>) -> Result<(Digest, u64), Error> {
        let found = self.inner.store.stream(key, None).await.map_err(of_store)?;
        let mut bytes = found.ok_or_else(|| upload_unknown(upload))?.bytes;
        let (mut hasher, mut len) = (Hasher::new(digest.algorithm()), 0);
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| {
                let message = "the registry's storage is not available, try again later";
                Error::new(ErrorCode::Unavailable, message).because(error)
            })?;
            hasher.update(&piece);
            len += piece.len() as u64;
        }
        Ok((hasher.finish(), len))
    }

    /// Deletes the small objects of an upload that has ended, behind the client's back.
    fn sweep_later(&self, upload: UploadRequest<'_>) {
        let (registry, name, id) = (self.clone(), upload.name.clone(), upload.id);
        self.inner.background.try_run(async move {
            let directory = Key::Upload(&name, &id);
            if let Err(error) = registry.inner.store.delete_directory(directory).await {
                tracing::debug!(repository = %name, %error, "an upload's scratch is left over in the bucket");
            }
        });
    }
}

/// The bytes must have the digest that the client gave.
pub(super) fn require(expected: &Digest, actual: Digest) -> Result<(), Error> {
    if *expected == actual {
        return Ok(());
    }
    let message = format!("the bytes that came have the digest {actual}, not {expected}");
    Err(Error::new(ErrorCode::DigestInvalid, message))
}

/// The parts that the bucket has, if they are the very ones that the state vouches for; `None` when the upload is gone.
async fn vouched_parts(multipart: &Multipart, data: &Data) -> Result<Option<Vec<Part>>, Error> {
    let limit = usize::try_from(MAX_PARTS).unwrap_or(usize::MAX);
    let Some(mut parts) = multipart.parts(0, limit).await.map_err(of_store)? else {
        return Ok(None);
    };
    let expected = usize::try_from(data.parts).unwrap_or_default();
    // Parts behind the last one are of a request that failed.
    parts.truncate(expected);
    if parts.len() == expected && Chain::over(&parts) == data.chain {
        return Ok(Some(parts));
    }
    let message = "another request sent other bytes for the same upload, push the blob again";
    Err(Error::new(ErrorCode::BlobUploadInvalid, message))
}
