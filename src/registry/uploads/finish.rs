//! Finishing an upload (end-6) whose bytes were collected: its blob appears under its digest, or nothing does.
//!
//! The completed object is under a key that only this multipart upload ever had, and consists of the parts that the
//! state vouches for; so it can be moved to the digest's key without reading it. Where that is not certain (an answer
//! of the store was lost, or the client finishes with another algorithm than it announced), it is read and hashed once
//! more before it is moved.

use std::sync::Arc;

use futures_util::StreamExt;

use super::Uploads;
use super::append::ReceivedChunk;
use super::request::{ChunkRequest, Halt, Pushed, UploadRequest, upload_unknown};
use super::state::{Data, UploadState};
use crate::oci::{Digest, Error, ErrorCode, Hasher};
use crate::registry::flights::FlightKey;
use crate::registry::ingest::{put, require_digest};
use crate::registry::parts_digest::PartsDigest;
use crate::registry::runtime::Moment;
use crate::store::{Completed, Key, MAX_PARTS, Multipart, Part, StoreError};

/// The object at an upload's own key.
enum Collected {
    /// Exactly the parts that the state vouches for.
    Vouched,
    /// Other bytes, or none.
    Unknown,
}

impl Uploads {
    /// Finishes an upload (end-6), perhaps with its last bytes, or all of them. Asked again, it answers the same, if
    /// the blob is there. Without bytes, the client may ask any of the upload's URLs.
    ///
    /// # Errors
    /// As [`append`](Self::append), and `DIGEST_INVALID`: the bytes have another digest; none
    /// of them is kept.
    pub async fn finish(
        self: &Arc<Self>,
        upload: UploadRequest<'_>,
        digest: &Digest,
        chunk: ChunkRequest,
    ) -> Result<Pushed, Error> {
        self.changes.allow_push()?;
        let mut state = self.verified(upload)?;
        let is_empty = chunk.range.is_none() && chunk.len == Some(0);
        // Bytes that come to the first URL are a whole blob, unless the client says that they are a chunk.
        let looks = state.offset == 0 && (is_empty || chunk.range.is_some());
        if looks || chunk.is_out_of_order(&state) {
            state = self.newest(upload, state).await?;
            if chunk.is_out_of_order(&state) {
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
            let stored = self.store_whole(upload.name, digest, chunk, allowed);
            Box::pin(stored).await?;
            return Ok(Pushed::Stored);
        }
        let pusher = chunk.pusher.clone();
        match self.finish_collected(upload, state, digest, chunk).await {
            Ok(()) => Ok(Pushed::Stored),
            Err(Halt::Superseded(newer)) if is_empty => {
                match self.finish_collected(upload, *newer, digest, ChunkRequest::empty(pusher)).await {
                    Ok(()) => Ok(Pushed::Stored),
                    Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
                    Err(Halt::Failed(error)) => Err(error),
                }
            }
            Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn finish_collected(
        self: &Arc<Self>,
        upload: UploadRequest<'_>,
        state: UploadState,
        digest: &Digest,
        chunk: ChunkRequest,
    ) -> Result<(), Halt> {
        let (before, began) = (state.clone(), self.links.begin());
        let received = match self.receive_last(upload, state, digest, chunk).await {
            Ok(received) => Ok(received),
            Err(Halt::Failed(error)) => Err(error),
            Err(superseded) => return Err(superseded),
        };
        let (uploads, name, id) = (Arc::clone(self), upload.name.clone(), upload.id);
        let digest = *digest;
        // Under the upload's lock, because a client that gave up waiting may repeat the request.
        let end = async move {
            let upload = UploadRequest { name: &name, id, state: "" };
            let end = uploads.end(upload, &before, received, (&digest, began));
            uploads.flights.exclusive(FlightKey::Upload(id), Box::pin(end)).await
        };
        Ok(self.background.complete(end).await?)
    }

    /// Reads the last chunk, and looks whether the bucket has the blob: at the same time only if there is no body,
    /// because a body can take long, and meanwhile the blob may come or go.
    async fn receive_last(
        &self,
        upload: UploadRequest<'_>,
        state: UploadState,
        digest: &Digest,
        chunk: ChunkRequest,
    ) -> Result<(ReceivedChunk, bool), Halt> {
        let (is_empty, mut no_tails) = (chunk.announced() == Some(0), None);
        let receive = Box::pin(self.receive(upload, state, chunk, Some(digest), &mut no_tails));
        let look = self.links.stored_size(digest);
        let (received, present) = if is_empty {
            let (received, present) = tokio::join!(receive, look);
            (received?, present)
        } else {
            (receive.await?, look.await)
        };
        Ok((received, present?.is_some()))
    }

    /// `received` comes with whether the bucket has the blob.
    async fn end(
        self: &Arc<Self>,
        upload: UploadRequest<'_>,
        before: &UploadState,
        received: Result<(ReceivedChunk, bool), Error>,
        (digest, began): (&Digest, Moment),
    ) -> Result<(), Error> {
        let stored = match received {
            Ok((received, present)) => {
                let scratch = received.state.scratch;
                self.commit(upload, received, (digest, began), present).await.map(|()| scratch)
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(scratch) => {
                if scratch {
                    self.delete_leftovers(upload).await;
                }
                Ok(())
            }
            // It was finished before, perhaps by the same request, whose answer was lost.
            Err(error) if error.code() == ErrorCode::BlobUploadUnknown => {
                let status = self.links.status_from_bucket(upload.name, digest).await?;
                if !status.linked || status.stored.is_none() {
                    return Err(error);
                }
                Ok(self.links.keep_from_deletion(&[upload.name], digest, began).await?)
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

    /// Makes the blob appear, if it is not `present`, and links it.
    async fn commit(
        &self,
        upload: UploadRequest<'_>,
        received: ReceivedChunk,
        (digest, began): (&Digest, Moment),
        present: bool,
    ) -> Result<(), Error> {
        let ReceivedChunk { mut state, rest, mut sender, permit: _permit, .. } = received;
        let (name, size) = (upload.name, state.offset);
        let hashed = state.hasher.algorithm() == digest.algorithm();
        if hashed {
            require_digest(digest, state.hasher.clone().finish())?;
        }
        if state.data.is_none() {
            if !hashed {
                let mut again = Hasher::new(digest.algorithm());
                rest.pieces().for_each(|piece| again.update(piece));
                require_digest(digest, again.finish())?;
            }
            if present {
                return self.links.link_pushed(name, digest, size, began).await;
            }
            let put = Box::pin(put(&self.store, rest, digest));
            return self.links.store_pushed(name, digest, size, began, put).await;
        }
        if present && hashed {
            // A state can be used again, but not to bring back a blob that was deleted since.
            self.require_alive(upload, &state).await?;
            self.discard(upload, &state).await?;
            return self.links.link_pushed(name, digest, size, began).await;
        }
        let sent = match rest.len() {
            0 => Ok(()),
            _ => self.send_rest(upload, &mut sender, &mut state, rest).await,
        };
        let collected = match sent {
            Ok(()) => self.complete(upload, &state).await?,
            // An earlier request completed it, and did not come to the end.
            Err(error) if error.code() == ErrorCode::BlobUploadUnknown => Collected::Unknown,
            Err(error) => return Err(error),
        };
        let vouched = matches!(collected, Collected::Vouched);
        if let Some(mut sender) = sender {
            sender.disown();
        }
        self.put_in_place(upload, &state, digest, vouched && hashed).await?;
        self.links.link_pushed(name, digest, size, began).await
    }

    /// Completes the multipart upload of the parts that the state vouches for, and of no others.
    async fn complete(&self, upload: UploadRequest<'_>, state: &UploadState) -> Result<Collected, Error> {
        let data = state.data.as_ref().ok_or_else(|| upload_unknown(upload))?;
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let multipart = self.store.resume(key, data.upload_id.clone());
        let Some(parts) = vouched_parts(&multipart, data).await? else {
            return Ok(Collected::Unknown);
        };
        match multipart.try_complete(parts).await? {
            Completed::Done => Ok(Collected::Vouched),
            Completed::Gone => Ok(Collected::Unknown),
            Completed::Refused(error) => {
                // Another request sent a part since the check, or the store has a rule that the client cannot meet.
                vouched_parts(&multipart, data).await?;
                Err(error.into())
            }
        }
    }

    /// Moves the completed object to the digest's key. The original, where the store only copies, goes with the
    /// upload's other objects.
    async fn put_in_place(
        &self,
        upload: UploadRequest<'_>,
        state: &UploadState,
        digest: &Digest,
        vouched: bool,
    ) -> Result<(), Error> {
        let data = state.data.as_ref().ok_or_else(|| upload_unknown(upload))?;
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let store = &self.store;
        if !vouched {
            let (actual, len) = self.hash(key, digest, upload).await?;
            require_digest(digest, actual)?;
            // Another state than this one completed it, with more bytes or fewer.
            if len != state.offset {
                return Err(upload_unknown(upload));
            }
            if self.links.stored_size(digest).await?.is_some() {
                return Ok(store.delete(key).await?);
            }
        }
        let moved = store.relocate(key, Key::Blob(digest), state.offset).await;
        if moved? {
            return Ok(());
        }
        // A retried rename finds nothing when the first attempt succeeded and its answer was lost.
        let there = store.head(Key::Blob(digest)).await?;
        there.map(drop).ok_or_else(|| upload_unknown(upload))
    }

    async fn hash(&self, key: Key<'_>, digest: &Digest, upload: UploadRequest<'_>) -> Result<(Digest, u64), Error> {
        let found = self.store.stream(key, None).await?;
        let mut bytes = found.ok_or_else(|| upload_unknown(upload))?.bytes;
        let (mut hasher, mut len) = (Hasher::new(digest.algorithm()), 0);
        while let Some(piece) = bytes.next().await {
            let piece =
                piece.map_err(|error| StoreError::Unavailable { operation: "GetObject", cause: error.to_string() })?;
            hasher.update(&piece);
            len += piece.len() as u64;
        }
        Ok((hasher.finish(), len))
    }
}

/// The parts that the bucket has, if they are the very ones that the state vouches for; `None` when the upload is gone.
async fn vouched_parts(multipart: &Multipart, data: &Data) -> Result<Option<Vec<Part>>, Error> {
    let limit = usize::try_from(MAX_PARTS).unwrap_or(usize::MAX);
    let Some(mut parts) = multipart.parts(0, limit).await? else {
        return Ok(None);
    };
    let expected = usize::try_from(data.parts).unwrap_or_default();
    // Further parts are of a request that failed.
    parts.truncate(expected);
    if parts.len() == expected && PartsDigest::over(&parts) == data.chain {
        return Ok(Some(parts));
    }
    let message = "another request sent other bytes for the same upload, push the blob again";
    Err(Error::new(ErrorCode::BlobUploadInvalid, message))
}
