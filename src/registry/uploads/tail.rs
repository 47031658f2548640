//! The last bytes of a request, and how far the upload came by it.
//!
//! They are kept as an object of their own, which says in its key how far the upload is and begins with the state that
//! vouches for them. So one LIST of an upload's directory finds the latest request, also for a client that asks at an
//! older location, because an answer was lost, say; and the object has what such a client goes on with.
//!
//! Such a state is as good as one that came in a URL, and no better: it is signed for this upload, and a client only gets
//! it for another one of the same upload. Who writes into the bucket cannot make one up.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::buffer::Buffer;
use super::intake::Intake;
use super::sender::LARGEST;
use super::state::{State, Tail};
use super::{UploadRequest, upload_unknown};
use crate::oci::{Error, Slice};
use crate::registry::Registry;
use crate::registry::failure::of_store;
use crate::store::{Key, PartSource, StoreError, UploadMark};

/// The most bytes of a state with its end of line: some 1,500 and the store's name for the upload.
const MAX_STATE: u64 = 64 << 10;
/// What ends the state, which is one of the letters of an URL.
const END: u8 = b'\n';

impl Registry {
    /// The state that the upload is in by now: this one, or that of a later request.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`: it was cancelled. `UNAVAILABLE`.
    pub(super) async fn newest(
        &self,
        upload: UploadRequest<'_>,
        state: State,
    ) -> Result<State, Error> {
        let newer = self.newer(upload, &state).await?;
        Ok(newer.unwrap_or(state))
    }

    /// The state of a later request than the one that this state is of.
    async fn newer(
        &self,
        upload: UploadRequest<'_>,
        state: &State,
    ) -> Result<Option<State>, Error> {
        let directory = Key::Upload(upload.name, &upload.id);
        // A cancellation is listed before all else, and the farther a request came, the earlier its bytes.
        let listed = self.inner.store.objects(directory, None, 1).await;
        let (listed, _) = listed.map_err(of_store)?;
        let first = listed.first().and_then(|it| UploadMark::parse(&it.path));
        match first {
            Some(UploadMark::Cancelled) => Err(upload_unknown(upload)),
            Some(UploadMark::Tail(offset, own)) if offset > state.offset => {
                self.state_at(upload, offset, &own).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The state in front of the bytes of a request.
    async fn state_at(
        &self,
        upload: UploadRequest<'_>,
        offset: u64,
        own: &Uuid,
    ) -> Result<State, Error> {
        let key = Key::UploadTail(upload.name, &upload.id, offset, own);
        let beginning = Slice {
            start: 0,
            end: MAX_STATE,
        };
        let found = self.inner.store.stream(key, Some(beginning)).await;
        let found = found.map_err(of_store)?;
        let mut pieces = found.ok_or_else(|| upload_unknown(upload))?.bytes;
        let mut text = Vec::new();
        while !text.contains(&END)
            && let Some(piece) = pieces.next().await
        {
            let piece = piece.map_err(|error| {
                of_store(StoreError::Unavailable {
                    operation: "GetObject",
                    cause: error.to_string(),
                })
            })?;
            text.extend_from_slice(&piece);
        }
        let text = text.split(|byte| *byte == END).next().unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        self.opened(UploadRequest {
            state: text,
            ..upload
        })
    }

    /// Puts the last bytes of the request before in front of a body whose parts are of `first` bytes. They stay in the
    /// bucket, since the request that takes them up may fail, and its client try again.
    ///
    /// Asks at the same time how far the upload is; returns the state of a later request, if there was one, and nothing
    /// is put in front of the body then, unless this state `stands` anyway.
    pub(super) async fn take_up(
        &self,
        upload: UploadRequest<'_>,
        state: &mut State,
        intake: &mut Intake,
        first: u64,
        stands: bool,
    ) -> Result<Option<State>, Error> {
        let Some(tail) = state.tail else {
            let newer = self.newer(upload, state).await?;
            return Ok(newer.filter(|_| !stands));
        };
        intake.reserve_for(tail.len, first).await;
        let key = Key::UploadTail(upload.name, &upload.id, state.offset, &tail.key);
        let (newer, found) = tokio::join!(
            self.newer(upload, state),
            self.inner.store.get_up_to(key, LARGEST + MAX_STATE)
        );
        if let Some(newer) = newer?
            && !stands
        {
            return Ok(Some(newer));
        }
        let found = found.map_err(of_store)?.map(|object| object.bytes);
        let bytes = found.and_then(|bytes| {
            let end = bytes.iter().position(|byte| *byte == END)?;
            Some(bytes.slice(end + 1..))
        });
        let bytes = bytes.filter(|bytes| bytes.len() as u64 == tail.len);
        let bytes = bytes.ok_or_else(|| upload_unknown(upload))?;
        state.tail = None;
        intake.put_in_front(bytes).await;
        Ok(None)
    }

    /// Keeps the last bytes of a request, with the state that vouches for them.
    pub(super) async fn keep_tail(
        &self,
        upload: UploadRequest<'_>,
        state: &mut State,
        rest: Buffer,
    ) -> Result<(), Error> {
        let (own, len) = (Uuid::new_v4(), rest.len());
        state.tail = Some(Tail { key: own, len });
        state.scratch = true;
        let mut text = self.progress(upload.name, upload.id, state).state;
        text.push(char::from(END));
        let text = Bytes::from(text);
        let whole = text.len() as u64 + len;
        let (bytes, _room) = rest.into_source();
        let source: PartSource = Arc::new(move || {
            let text = text.clone();
            stream::once(async { Ok(text) }).chain(bytes()).boxed()
        });
        let key = Key::UploadTail(upload.name, &upload.id, state.offset, &own);
        let put = self.inner.store.put_blob(key, whole, source);
        put.await.map_err(of_store)
    }

    /// An upload is there as long as what its state names is in the bucket.
    pub(super) async fn require_alive(
        &self,
        upload: UploadRequest<'_>,
        state: &State,
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let alive = match (&state.data, &state.tail) {
            (Some(data), _) => {
                let key = Key::UploadData(upload.name, &upload.id, &data.key);
                let multipart = store.resume(key, data.upload_id.clone());
                multipart.parts(0, 1).await.map_err(of_store)?.is_some()
            }
            (None, Some(tail)) => {
                let key = Key::UploadTail(upload.name, &upload.id, state.offset, &tail.key);
                store.head(key).await.map_err(of_store)?.is_some()
            }
            (None, None) => return self.require_not_cancelled(upload).await,
        };
        alive.then_some(()).ok_or_else(|| upload_unknown(upload))
    }

    /// Nothing in the bucket tells of an upload without bytes, except that it was cancelled.
    pub(super) async fn require_not_cancelled(
        &self,
        upload: UploadRequest<'_>,
    ) -> Result<(), Error> {
        let key = Key::UploadCancelled(upload.name, &upload.id);
        match self.inner.store.head(key).await.map_err(of_store)? {
            None => Ok(()),
            Some(_) => Err(upload_unknown(upload)),
        }
    }
}
