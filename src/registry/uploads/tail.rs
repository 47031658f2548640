//! The last bytes of a request, and how far the upload came by it.
//!
//! They are kept as an object of their own, whose key says how far the upload is, and which begins with the state that
//! vouches for them. So one LIST of an upload's directory finds the latest request, also for a client that asks an
//! older URL because an answer was lost; and the object has the state with which such a client goes on.
//!
//! A request deletes tails that are older than the one that it continued, once its own is stored. The continued one
//! stays, for a client that finishes the upload at the state before. Of requests that extend one state at the same
//! time, one leaves a tail in each process ([`racing`](super::racing)). So an upload has a few tails, however often it
//! is extended.
//!
//! Such a state is as good as one that came in a URL, and no better: it is signed for this upload, and a client only
//! gets it for another one of the same upload. A writer to the bucket cannot forge one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::Uploads;
use super::request::{Halt, UploadRequest, upload_unknown};
use super::state::{Tail, UploadState};
use crate::oci::{Error, Slice};
use crate::registry::ingest::{Buffer, LARGEST, PartReader};
use crate::store::{Key, PartSource, StoreError, UploadMark};

/// The most bytes of a state with its end of line: some 1,500 and the store's name for the upload.
const MAX_STATE: u64 = 64 << 10;
/// How many tails of an upload are listed: those that there can be, and some that a process left behind that was killed
/// before it deleted them.
const LISTED: i32 = 16;
/// Ends the state, which consists of the letters of a URL.
const END: u8 = b'\n';

/// A tail, as its key names it: its offset, and its own name.
pub(super) type TailId = (u64, Uuid);

impl Uploads {
    /// The upload's latest state: this one, or that of a later request.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`: it was cancelled. `UNAVAILABLE`.
    pub(super) async fn newest(&self, upload: UploadRequest<'_>, state: UploadState) -> Result<UploadState, Error> {
        let newer = self.newer(upload, &state).await?;
        Ok(newer.unwrap_or(state))
    }

    /// The state of a later request than this state's.
    pub(super) async fn newer(
        &self,
        upload: UploadRequest<'_>,
        state: &UploadState,
    ) -> Result<Option<UploadState>, Error> {
        let tails = self.tails(upload).await?;
        self.newer_of(upload, state, &tails).await
    }

    async fn newer_of(
        &self,
        upload: UploadRequest<'_>,
        state: &UploadState,
        tails: &[TailId],
    ) -> Result<Option<UploadState>, Error> {
        match tails.first() {
            Some((offset, own)) if *offset > state.offset => self.state_at(upload, *offset, own).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The tails in the bucket, the farthest first.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`: the upload was cancelled. `UNAVAILABLE`.
    async fn tails(&self, upload: UploadRequest<'_>) -> Result<Vec<TailId>, Error> {
        let directory = Key::Upload(upload.name, &upload.id);
        // A cancellation is listed first, then the tails, the farthest first.
        let listed = self.store.objects(directory, None, LISTED).await;
        let (listed, _) = listed?;
        let marks = listed.iter().map_while(|it| UploadMark::parse(&it.path));
        let tail = |mark| match mark {
            UploadMark::Cancelled => Err(upload_unknown(upload)),
            UploadMark::Tail(offset, own) => Ok((offset, own)),
        };
        marks.map(tail).collect()
    }

    /// Deletes tails that later ones have superseded, in the background. Those that are left over go with the upload.
    pub(super) fn delete_tails(self: &Arc<Self>, upload: UploadRequest<'_>, tails: Vec<TailId>) {
        if tails.is_empty() {
            return;
        }
        let (uploads, name, id) = (Arc::clone(self), upload.name.clone(), upload.id);
        self.background.try_run(async move {
            for (offset, own) in tails {
                let key = Key::UploadTail(&name, &id, offset, &own);
                if let Err(error) = uploads.store.delete(key).await {
                    tracing::debug!(repository = %name, %error, "an upload's objects are left over in the bucket");
                }
            }
        });
    }

    /// The state in front of the bytes of a request.
    async fn state_at(&self, upload: UploadRequest<'_>, offset: u64, own: &Uuid) -> Result<UploadState, Error> {
        let key = Key::UploadTail(upload.name, &upload.id, offset, own);
        let beginning = Slice { start: 0, end: MAX_STATE };
        let found = self.store.stream(key, Some(beginning)).await;
        let mut pieces = found?.ok_or_else(|| upload_unknown(upload))?.bytes;
        let mut text = Vec::new();
        while !text.contains(&END)
            && let Some(piece) = pieces.next().await
        {
            let piece =
                piece.map_err(|error| StoreError::Unavailable { operation: "GetObject", cause: error.to_string() })?;
            text.extend_from_slice(&piece);
        }
        let text = text.split(|byte| *byte == END).next().unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        self.verified(UploadRequest { state: text, ..upload })
    }

    /// Puts the last bytes of the request before in front of a body whose parts are of `first` bytes. They stay in the
    /// bucket, since the request that takes them up may fail, and its client try again.
    ///
    /// Asks at the same time how far the upload is. Nothing is put in front of the body of a state that a later request
    /// superseded, unless this state `stands` anyway. Otherwise returns the tails that are older than this state's.
    ///
    /// # Errors
    /// [`Halt::Superseded`]; `BLOB_UPLOAD_UNKNOWN`, `UNAVAILABLE`.
    pub(super) async fn resume_tail(
        &self,
        upload: UploadRequest<'_>,
        state: &mut UploadState,
        reader: &mut PartReader,
        first: u64,
        stands: bool,
    ) -> Result<Vec<TailId>, Halt> {
        let unless_superseded = |newer: Option<UploadState>| match newer {
            Some(newer) if !stands => Err(Halt::Superseded(Box::new(newer))),
            _ => Ok(()),
        };
        let Some(tail) = state.tail else {
            unless_superseded(self.newer(upload, state).await?)?;
            return Ok(Vec::new());
        };
        reader.reserve_for(tail.len, first).await;
        let key = Key::UploadTail(upload.name, &upload.id, state.offset, &tail.key);
        let (tails, found) = tokio::join!(self.tails(upload), self.store.get_up_to(key, LARGEST + MAX_STATE));
        let mut tails = tails?;
        unless_superseded(self.newer_of(upload, state, &tails).await?)?;
        let found = found?.map(|object| object.bytes);
        let bytes = found.and_then(|bytes| {
            let end = bytes.iter().position(|byte| *byte == END)?;
            Some(bytes.slice(end + 1..))
        });
        let Some(bytes) = bytes.filter(|bytes| bytes.len() as u64 == tail.len) else {
            // It may be gone since the tails were listed, because two later requests came.
            let newer = self.newer(upload, state).await?;
            return Err(newer.map_or_else(|| upload_unknown(upload).into(), |newer| Halt::Superseded(Box::new(newer))));
        };
        tails.retain(|it| it.0 <= state.offset && *it != (state.offset, tail.key));
        state.tail = None;
        reader.put_in_front(bytes).await;
        Ok(tails)
    }

    /// Keeps the last bytes of a request, with the state that vouches for them.
    pub(super) async fn keep_tail(
        &self,
        upload: UploadRequest<'_>,
        state: &mut UploadState,
        rest: Buffer,
    ) -> Result<(), Error> {
        let (own, len) = (Uuid::new_v4(), rest.len());
        state.tail = Some(Tail { key: own, len });
        state.scratch = true;
        let mut text = self.progress(upload.name, upload.id, state).state;
        text.push(char::from(END));
        let text = Bytes::from(text);
        let whole = text.len() as u64 + len;
        let (bytes, _memory) = rest.into_source();
        let source: PartSource = Arc::new(move || {
            let text = text.clone();
            stream::once(async { Ok(text) }).chain(bytes()).boxed()
        });
        let key = Key::UploadTail(upload.name, &upload.id, state.offset, &own);
        let put = self.store.put_blob(key, whole, source);
        Ok(put.await?)
    }

    /// An upload is there as long as what its state names is in the bucket.
    pub(super) async fn require_alive(&self, upload: UploadRequest<'_>, state: &UploadState) -> Result<(), Error> {
        let store = &self.store;
        let alive = match (&state.data, &state.tail) {
            (Some(data), _) => {
                let key = Key::UploadData(upload.name, &upload.id, &data.key);
                let multipart = store.resume(key, data.upload_id.clone());
                multipart.parts(0, 1).await?.is_some()
            }
            (None, Some(tail)) => {
                let key = Key::UploadTail(upload.name, &upload.id, state.offset, &tail.key);
                store.head(key).await?.is_some()
            }
            (None, None) => return self.require_not_cancelled(upload).await,
        };
        alive.then_some(()).ok_or_else(|| upload_unknown(upload))
    }

    /// Nothing in the bucket tells of an upload without bytes, except that it was cancelled.
    pub(super) async fn require_not_cancelled(&self, upload: UploadRequest<'_>) -> Result<(), Error> {
        let key = Key::UploadCancelled(upload.name, &upload.id);
        match self.store.head(key).await? {
            None => Ok(()),
            Some(_) => Err(upload_unknown(upload)),
        }
    }
}
