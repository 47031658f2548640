//! Collecting an upload's bytes, request by request.
//!
//! They become parts of a multipart upload under the upload's own key. The store takes no part below
//! 5 MiB except the last, so a request's last bytes, if they are fewer, are kept as a small object
//! until the next request; a blob that is smaller than that never becomes a multipart upload.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::body::{Buffer, Incoming};
use super::sender::{Sender, part_len};
use super::state::{Chain, Data, State, Tail};
use super::{ChunkRequest, UploadRequest, upload_unknown};
use crate::oci::{Error, MediaType};
use crate::registry::Registry;
use crate::registry::failure::of_store;
use crate::store::{Condition, Key, Metadata, StoreError};

/// S3's least size of a part that is not the last, in bytes.
const MIN_PART: u64 = 5 << 20;

/// What a request added to an upload.
pub(super) struct Received {
    /// Without the bytes in `rest`, except for hasher and offset.
    pub(super) state: State,
    /// The last bytes, not stored anywhere: enough for a part, or fewer.
    pub(super) rest: Buffer,
    /// Parts were sent, so the upload is there.
    sent: bool,
}

impl Registry {
    /// Takes a chunk; all of its bytes are in the bucket afterwards.
    pub(super) async fn extend(
        &self,
        upload: UploadRequest<'_>,
        state: State,
        chunk: ChunkRequest,
    ) -> Result<State, Error> {
        let begun = state.data.is_none();
        let Received {
            mut state,
            rest,
            sent,
        } = self.receive(upload, state, chunk).await?;
        let stored = async {
            if !sent && rest.len() < MIN_PART && state.data.is_some() {
                self.require_alive(upload, &state).await?;
            }
            if rest.len() >= MIN_PART {
                let sender = self.sender(upload, &state).await?;
                self.send_rest(upload, sender, &mut state, rest).await?;
            } else if rest.len() > 0 {
                state.tail = Some(self.keep_tail(upload, rest).await.map_err(of_store)?);
                state.scratch = true;
            }
            Ok(())
        };
        let stored: Result<(), Error> = stored.await;
        if stored.is_err()
            && begun
            && let Err(error) = self.abort_data(upload, &state).await
        {
            tracing::warn!(%error, "an upload was left over in the bucket");
        }
        stored.map(|()| state)
    }

    /// Reads a chunk, and sends what makes parts.
    pub(super) async fn receive(
        &self,
        upload: UploadRequest<'_>,
        mut state: State,
        chunk: ChunkRequest,
    ) -> Result<Received, Error> {
        let _turn = self.inner.uploads.turn().await?;
        let mut rest = self.take_up(upload, &mut state).await?;
        let announced = chunk.range.map(|range| range.len).or(chunk.len);
        let mut incoming = Incoming::new(chunk.body, state.hasher.clone(), announced);
        let mut sender = None;
        while let Some(piece) = incoming.next().await? {
            rest.push(piece);
            loop {
                let next = sender.as_ref().map_or_else(
                    || state.data.as_ref().map_or(1, |data| data.parts + 1),
                    Sender::next,
                );
                let len = part_len(self.inner.store.part_size(), next);
                // What is left must be enough for a part, too.
                if rest.len() < len + MIN_PART {
                    break;
                }
                let sender = match &mut sender {
                    Some(sender) => sender,
                    None => sender.insert(self.sender(upload, &state).await?),
                };
                if !sender.send(rest.take(len)).await? {
                    return Err(upload_unknown(upload));
                }
            }
        }
        state.offset += incoming.len;
        state.hasher = incoming.hasher;
        let sent = sender.is_some();
        if let Some(sender) = sender {
            self.finish(upload, sender, &mut state).await?;
        }
        Ok(Received { state, rest, sent })
    }

    /// Sends the last bytes as a part, whatever their number.
    pub(super) async fn send_rest(
        &self,
        upload: UploadRequest<'_>,
        mut sender: Sender,
        state: &mut State,
        rest: Buffer,
    ) -> Result<(), Error> {
        if !sender.send(rest).await? {
            return Err(upload_unknown(upload));
        }
        self.finish(upload, sender, state).await
    }

    /// Continues the state's multipart upload, or begins one.
    pub(super) async fn sender(
        &self,
        upload: UploadRequest<'_>,
        state: &State,
    ) -> Result<Sender, Error> {
        let (store, slots) = (&self.inner.store, Arc::clone(&self.inner.uploads.parts));
        if let Some(data) = &state.data {
            let key = Key::UploadData(upload.name, &upload.id, &data.key);
            let multipart = store.resume(key, data.upload_id.clone());
            return Ok(Sender::new(multipart, data.parts, slots, data.key));
        }
        let own = Uuid::new_v4();
        let key = Key::UploadData(upload.name, &upload.id, &own);
        let multipart = store.begin(key).await.map_err(of_store)?;
        Ok(Sender::new(multipart, 0, slots, own).owned(&self.inner.background))
    }

    /// Waits for the parts, and makes the state vouch for them.
    async fn finish(
        &self,
        upload: UploadRequest<'_>,
        mut sender: Sender,
        state: &mut State,
    ) -> Result<(), Error> {
        let sent = sender.finish().await?;
        let sent = sent.ok_or_else(|| upload_unknown(upload))?;
        let data = state.data.get_or_insert_with(|| Data {
            key: sender.key(),
            upload_id: sender.upload().id().to_owned(),
            parts: 0,
            chain: Chain::default(),
        });
        for part in &sent {
            data.chain.append(part);
            data.parts = part.number;
        }
        sender.disown();
        Ok(())
    }

    /// The last bytes of the request before. They stay in the bucket, since the request that takes
    /// them up may fail, and its client try again.
    async fn take_up(&self, upload: UploadRequest<'_>, state: &mut State) -> Result<Buffer, Error> {
        let Some(tail) = state.tail.take() else {
            if state.data.is_none() {
                self.require_not_cancelled(upload).await?;
            }
            return Ok(Buffer::default());
        };
        let key = Key::UploadData(upload.name, &upload.id, &tail.key);
        let found = self.inner.store.get_up_to(key, MIN_PART).await;
        let found = found
            .map_err(of_store)?
            .filter(|object| object.bytes.len() as u64 == tail.len);
        let object = found.ok_or_else(|| upload_unknown(upload))?;
        Ok(Buffer::from(object.bytes))
    }

    async fn keep_tail(&self, upload: UploadRequest<'_>, rest: Buffer) -> Result<Tail, StoreError> {
        let (key, len) = (Uuid::new_v4(), rest.len());
        let place = Key::UploadData(upload.name, &upload.id, &key);
        self.inner
            .store
            .put_blob(place, len, rest.into_source())
            .await?;
        Ok(Tail { key, len })
    }

    /// Deletes all that the bucket has of an upload.
    pub(super) async fn discard(
        &self,
        upload: UploadRequest<'_>,
        state: &State,
    ) -> Result<(), StoreError> {
        self.abort_data(upload, state).await?;
        self.inner
            .store
            .delete_directory(Key::Upload(upload.name, &upload.id))
            .await
            .map(drop)
    }

    async fn abort_data(&self, upload: UploadRequest<'_>, state: &State) -> Result<(), StoreError> {
        let Some(data) = &state.data else {
            return Ok(());
        };
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let multipart = self.inner.store.resume(key, data.upload_id.clone());
        multipart.abort().await
    }

    pub(super) async fn mark_cancelled(&self, upload: UploadRequest<'_>) -> Result<(), StoreError> {
        let key = Key::UploadCancelled(upload.name, &upload.id);
        let (empty, plain) = (Bytes::new(), MediaType::OCTET_STREAM);
        self.inner
            .store
            .put(key, empty, &plain, &Metadata::new(), Condition::Always)
            .await
            .map(drop)
    }
}
