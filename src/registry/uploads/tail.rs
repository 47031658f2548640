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
//! The first request of an upload stores its tail while it looks for those of others, because that look mostly finds
//! none. If it finds one, it looks once more, and takes its own back if the bucket dates another one before it
//! ([`settle`](Uploads::settle)). All requests see the same dates, so no two take back theirs because of each other. A
//! request that is repeated sends the same bytes, so a tail that is taken back is no longer than the one that stays,
//! and no client is told to go on there. (`tests/models/tails.rs` tries all orders.)
//!
//! Such a state is as good as one that came in a URL, and no better: it is signed for this upload, and a client only
//! gets it for another one of the same upload. A writer to the bucket cannot forge one.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::Uploads;
use super::request::{Halt, UploadRequest, upload_unknown};
use super::state::{Tail, UploadState};
use crate::oci::{Error, ErrorCode, Slice};
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

/// The list of an upload's tails, as far as it is made.
pub(super) type Tails<'a> = BoxFuture<'a, Result<Vec<TailId>, Error>>;

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
    pub(super) async fn tails(&self, upload: UploadRequest<'_>) -> Result<Vec<TailId>, Error> {
        Ok(self.dated_tails(upload).await?.into_iter().map(|(tail, _)| tail).collect())
    }

    /// [`tails`](Self::tails), and when each was written. Of several that are as far, the one that was written first
    /// comes first, because that one is not taken back.
    async fn dated_tails(&self, upload: UploadRequest<'_>) -> Result<Vec<(TailId, Option<SystemTime>)>, Error> {
        let directory = Key::Upload(upload.name, &upload.id);
        // A cancellation is listed first, then the tails, the farthest first.
        let listed = self.store.objects(directory, None, LISTED).await;
        let (listed, _) = listed?;
        let marks = listed.iter().map_while(|it| Some((UploadMark::parse(&it.path)?, it.modified)));
        let tail = |(mark, modified)| match mark {
            UploadMark::Cancelled => Err(upload_unknown(upload)),
            UploadMark::Tail(offset, own) => Ok(((offset, own), modified)),
        };
        let mut tails: Vec<_> = marks.map(tail).collect::<Result<_, _>>()?;
        tails.sort_by_key(|((offset, own), modified)| (Reverse(*offset), *modified, *own));
        Ok(tails)
    }

    /// Requires that no later request superseded a state, as far as these tails tell.
    pub(super) async fn require_newest(
        &self,
        upload: UploadRequest<'_>,
        state: &UploadState,
        tails: &[TailId],
    ) -> Result<(), Halt> {
        match self.newer_of(upload, state, tails).await? {
            Some(newer) => Err(Halt::Superseded(Box::new(newer))),
            None => Ok(()),
        }
    }

    /// Decides whether a request's `own` tail stays, which was stored while the upload's tails were listed. If not, it
    /// is deleted. It stays where the bucket cannot be asked, as after an answer that is lost: another request may have
    /// found it, and its client goes on there.
    ///
    /// # Errors
    /// [`Halt::Superseded`]: another request was first. `BLOB_UPLOAD_UNKNOWN`: the upload was cancelled. `UNAVAILABLE`.
    pub(super) async fn settle(
        &self,
        upload: UploadRequest<'_>,
        before: &UploadState,
        own: TailId,
        tails: Result<Vec<TailId>, Error>,
    ) -> Result<(), Halt> {
        let is_other = |tail: &TailId| *tail != own && tail.0 > before.offset;
        let settled = async {
            if !tails?.iter().any(is_other) {
                return Ok(());
            }
            let mut dated = self.dated_tails(upload).await?;
            dated.retain(|(tail, _)| tail.0 > before.offset);
            let written = dated.iter().find(|(tail, _)| *tail == own).map(|(_, modified)| *modified);
            // Of the same date, all stay: which one comes first is no matter then.
            if written.is_some_and(|written| dated.iter().all(|(_, modified)| *modified >= written)) {
                return Ok(());
            }
            let others: Vec<TailId> = dated.into_iter().map(|(tail, _)| tail).filter(is_other).collect();
            self.require_newest(upload, before, &others).await?;
            // The tail is gone, and there are no others: the upload has ended.
            Err(upload_unknown(upload).into())
        };
        let settled = settled.await;
        let is_unneeded = match &settled {
            Ok(()) => false,
            Err(Halt::Superseded(_)) => true,
            Err(Halt::Failed(error)) => error.code() == ErrorCode::BlobUploadUnknown,
        };
        if is_unneeded
            && let Err(error) = self.store.delete(Key::UploadTail(upload.name, &upload.id, own.0, &own.1)).await
        {
            tracing::debug!(repository = %upload.name, %error, "an upload's objects are left over in the bucket");
        }
        settled
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

    /// Keeps the last bytes of a request under a name of their `own`, with the state that vouches for them.
    pub(super) async fn keep_tail(
        &self,
        upload: UploadRequest<'_>,
        state: &mut UploadState,
        own: Uuid,
        rest: Buffer,
    ) -> Result<(), Error> {
        let len = rest.len();
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
