//! Collecting an upload's bytes, request by request.
//!
//! They become parts of a multipart upload under the upload's own key. All parts but the last are of one size, because
//! some stores take no others (Cloudflare R2); so a request's last bytes, a part at most, are kept as an object of
//! their own until the next request, and a blob that is smaller than that never becomes a multipart upload.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::body::Incoming;
use super::buffer::Buffer;
use super::intake::Intake;
use super::places::Turn;
use super::sender::{Sender, first_part_len, part_len};
use super::state::{Chain, Data, State};
use super::tail::Named;
use super::{ChunkRequest, Halt, UploadRequest, upload_unknown};
use crate::oci::{Digest, Error, MediaType};
use crate::registry::Registry;
use crate::registry::cache::Matter;
use crate::registry::failure::of_store;
use crate::store::{Condition, Key, Metadata, StoreError};

/// What a request added to an upload.
pub(super) struct Received {
    /// Without the bytes in `rest`, except for hasher and offset.
    pub(super) state: State,
    /// The last bytes, not stored anywhere: at most a part.
    pub(super) rest: Buffer,
    /// Parts were sent, so the upload is there. Where this request began it, dropping this aborts it.
    pub(super) sender: Option<Sender>,
    /// Tails that are older than the one that was taken up.
    pub(super) older: Vec<Named>,
    /// The place, which the first of the last bytes came with.
    pub(super) turn: Arc<Turn>,
}

impl Registry {
    /// Takes a chunk; all of its bytes are in the bucket afterwards. The same chunk, sent again while the first attempt
    /// is under way, gets the state of the first one, and other bytes for the same state are refused: so replays leave
    /// nothing in the bucket.
    pub(super) async fn extend(
        &self,
        upload: UploadRequest<'_>,
        state: State,
        chunk: ChunkRequest,
    ) -> Result<State, Halt> {
        let racer = self.inner.uploads.racing.enter(upload.id);
        let before = state.clone();
        let received = self.receive(upload, state, chunk, None).await?;
        let Received { mut state, rest, sender, older, turn: _turn } = received;
        if sender.is_none() && state.data.is_some() {
            self.require_alive(upload, &state).await?;
        }
        if state.offset == before.offset {
            // No byte came, and what is there stays where it is.
            return Ok(before);
        }
        let keep = async {
            if racer.has_rivals()
                && let Some(newer) = self.newer(upload, &before).await?
            {
                let is_same = newer.hasher.clone().finish() == state.hasher.clone().finish();
                return if is_same { Ok(newer) } else { Err(Halt::Superseded(Box::new(newer))) };
            }
            self.keep_tail(upload, &mut state, rest).await?;
            if let Some(mut sender) = sender {
                sender.disown();
            }
            self.drop_tails(upload, older);
            Ok(state)
        };
        let matter = Matter::Upload(upload.id);
        self.inner.cache.alone(matter, Box::pin(keep)).await
    }

    /// Reads a chunk, and sends what makes parts. `end` is what the client ends the upload with.
    pub(super) async fn receive(
        &self,
        upload: UploadRequest<'_>,
        mut state: State,
        chunk: ChunkRequest,
        end: Option<&Digest>,
    ) -> Result<Received, Halt> {
        let turn = self.inner.uploads.places.soon(&chunk.pusher).await?;
        let announced = chunk.range.map(|range| range.len).or(chunk.len);
        let first = state
            .data
            .as_ref()
            .map_or_else(|| first_part_len(self.inner.store.part_size(), announced), |data| data.part_len);
        let hasher = state.hasher.clone();
        let incoming = Incoming::new(chunk.body, hasher, announced, Arc::clone(&turn));
        let mut intake = Intake::new(incoming);
        // What the client ends is the state that has its digest, whatever another request did since.
        let stands = end.is_some_and(|digest| state.hasher.clone().finish() == *digest);
        let older = self.take_up(upload, &mut state, &mut intake, first, stands);
        let older = older.await?;
        let mut sender = None;
        loop {
            let next =
                sender.as_ref().map_or_else(|| state.data.as_ref().map_or(1, |data| data.parts + 1), Sender::next);
            let len = part_len(first, next);
            let Some(part) = intake.part(len).await? else {
                break;
            };
            let sender = match &mut sender {
                Some(sender) => sender,
                None => sender.insert(self.sender(upload, &state).await?),
            };
            if !sender.send(part).await? {
                return Err(upload_unknown(upload).into());
            }
        }
        let (rest, len, hasher) = intake.end();
        state.offset += len;
        state.hasher = hasher;
        if let Some(sender) = &mut sender {
            finish(upload, sender, &mut state, first).await?;
        }
        Ok(Received { state, rest, sender, older, turn })
    }

    /// Sends the last bytes as a part, whatever their number.
    pub(super) async fn send_rest(
        &self,
        upload: UploadRequest<'_>,
        sender: &mut Option<Sender>,
        state: &mut State,
        rest: Buffer,
    ) -> Result<(), Error> {
        let sender = match sender {
            Some(sender) => sender,
            None => sender.insert(self.sender(upload, state).await?),
        };
        let len = rest.len();
        if !sender.send(rest).await? {
            return Err(upload_unknown(upload));
        }
        finish(upload, sender, state, len).await
    }

    /// Continues the state's multipart upload, or begins one.
    pub(super) async fn sender(&self, upload: UploadRequest<'_>, state: &State) -> Result<Sender, Error> {
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

    /// Deletes all that the bucket has of an upload.
    pub(super) async fn discard(&self, upload: UploadRequest<'_>, state: &State) -> Result<(), StoreError> {
        self.abort_data(upload, state).await?;
        self.inner.store.delete_directory(Key::Upload(upload.name, &upload.id)).await.map(drop)
    }

    async fn abort_data(&self, upload: UploadRequest<'_>, state: &State) -> Result<(), StoreError> {
        let Some(data) = &state.data else {
            return Ok(());
        };
        let key = Key::UploadData(upload.name, &upload.id, &data.key);
        let multipart = self.inner.store.resume(key, data.upload_id.clone());
        multipart.abort().await
    }

    /// Ends an upload, whatever of its states the client named, and says so to whoever goes on with another one.
    pub(super) async fn cancel(&self, upload: UploadRequest<'_>, state: &State) -> Result<(), StoreError> {
        let (store, directory) = (&self.inner.store, Key::Upload(upload.name, &upload.id));
        self.discard(upload, state).await?;
        let all = SystemTime::now() + Duration::from_hours(24);
        store.abort_uploads_before(directory, all, false).await?;
        let key = Key::UploadCancelled(upload.name, &upload.id);
        let (empty, plain) = (Bytes::new(), MediaType::OCTET_STREAM);
        store.put(key, empty, &plain, &Metadata::new(), Condition::Always).await.map(drop)
    }
}

/// Waits for the parts, of which the upload's first is of `first` bytes, and makes the state vouch for them.
async fn finish(upload: UploadRequest<'_>, sender: &mut Sender, state: &mut State, first: u64) -> Result<(), Error> {
    let sent = sender.finish().await?;
    let sent = sent.ok_or_else(|| upload_unknown(upload))?;
    let data = state.data.get_or_insert_with(|| Data {
        key: sender.key(),
        upload_id: sender.upload().id().to_owned(),
        parts: 0,
        part_len: first,
        chain: Chain::default(),
    });
    for part in &sent {
        data.chain.append(part);
        data.parts = part.number;
    }
    Ok(())
}
