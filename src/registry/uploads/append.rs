//! Appending bytes to an upload (end-5), request by request.
//!
//! They become parts of a multipart upload under the upload's own key. All parts but the last are of one size, because
//! some stores take only such parts (Cloudflare R2); so a request's last bytes, a part at most, are kept as an object
//! of their own until the next request, and a blob that is smaller than that never becomes a multipart upload.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use uuid::Uuid;

use super::Uploads;
use super::request::{ChunkRequest, Halt, Pushed, UploadRequest, upload_unknown};
use super::state::{Data, UploadState};
use super::tail::{TailId, Tails};
use crate::oci::{Digest, Error};
use crate::registry::flights::FlightKey;
use crate::registry::ingest::{BodyPermit, Buffer, HashingBody, LARGEST, PartReader, part_sizes, send};
use crate::registry::parts_digest::PartsDigest;
use crate::store::{Key, PartSender, PartSizes};

/// An upload after a request's bytes.
pub(super) struct ReceivedChunk {
    /// Without the bytes in `rest`, except for hasher and offset.
    pub(super) state: UploadState,
    /// The last bytes, not stored anywhere: at most a part.
    pub(super) rest: Buffer,
    /// Parts were sent, so the upload is there. Where this request began it, dropping this aborts it.
    pub(super) sender: Option<PartSender>,
    /// Tails that are older than the one that the request continued.
    pub(super) older: Vec<TailId>,
    /// The permit, with which the first of the last bytes came.
    pub(super) permit: Arc<BodyPermit>,
}

impl Uploads {
    /// Appends bytes to an upload (end-5).
    ///
    /// # Errors
    /// - `BLOB_UPLOAD_UNKNOWN`: the state is not one of this upload's, or the upload was ended.
    /// - `BLOB_UPLOAD_INVALID`, `SIZE_INVALID`: the bytes are not those that were announced.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn append(self: &Arc<Self>, upload: UploadRequest<'_>, chunk: ChunkRequest) -> Result<Pushed, Error> {
        self.changes.allow_push()?;
        let mut state = self.verified(upload)?;
        if chunk.is_out_of_order(&state) {
            state = self.newest(upload, state).await?;
            if chunk.is_out_of_order(&state) {
                return Ok(self.out_of_order(upload, &state));
            }
        }
        match self.extend(upload, state, chunk).await {
            Ok(state) => Ok(Pushed::Accepted(self.progress(upload.name, upload.id, &state))),
            Err(Halt::Superseded(newer)) => Ok(self.out_of_order(upload, &newer)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    pub(super) fn out_of_order(&self, upload: UploadRequest<'_>, state: &UploadState) -> Pushed {
        Pushed::OutOfOrder(self.progress(upload.name, upload.id, state))
    }

    /// Appends a chunk; all of its bytes are in the bucket afterwards. The same chunk, sent again while the first
    /// attempt is under way, gets the state of the first one, and other bytes for the same state are refused: so
    /// replays leave nothing in the bucket.
    async fn extend(
        self: &Arc<Self>,
        upload: UploadRequest<'_>,
        state: UploadState,
        chunk: ChunkRequest,
    ) -> Result<UploadState, Halt> {
        let racer = self.racing.enter(upload.id);
        let before = state.clone();
        // The first request of an upload is asked whether it is superseded beside the rest of its work.
        let mut tails = before.tail.is_none().then(|| self.tails(upload).boxed());
        let received = self.receive(upload, state, chunk, None, &mut tails).await?;
        let ReceivedChunk { mut state, rest, sender, older, permit: _permit } = received;
        if sender.is_none() && state.data.is_some() {
            self.require_alive(upload, &state).await?;
        }
        if state.offset == before.offset {
            if let Some(tails) = tails {
                self.require_newest(upload, &before, &tails.await?).await?;
            }
            // No byte came, so the state stays the same.
            return Ok(before);
        }
        let keep = async {
            if racer.has_rivals()
                && let Some(newer) = self.newer(upload, &before).await?
            {
                let is_same = newer.hasher.clone().finish() == state.hasher.clone().finish();
                return if is_same { Ok(newer) } else { Err(Halt::Superseded(Box::new(newer))) };
            }
            let own = Uuid::new_v4();
            let keep = self.keep_tail(upload, &mut state, own, rest);
            match tails {
                None => keep.await?,
                Some(tails) => {
                    let (kept, tails) = tokio::join!(keep, tails);
                    kept?;
                    self.settle(upload, &before, (state.offset, own), tails).await?;
                }
            }
            if let Some(mut sender) = sender {
                sender.disown();
            }
            self.delete_tails(upload, older);
            Ok(state)
        };
        self.flights.exclusive(FlightKey::Upload(upload.id), Box::pin(keep)).await
    }

    /// Reads a chunk, and sends its whole parts. `end` is the digest with which the client finishes the upload. A list
    /// of `tails` that is being made tells whether the state is superseded; if it stays, nothing was sent yet.
    pub(super) async fn receive(
        &self,
        upload: UploadRequest<'_>,
        mut state: UploadState,
        chunk: ChunkRequest,
        end: Option<&Digest>,
        tails: &mut Option<Tails<'_>>,
    ) -> Result<ReceivedChunk, Halt> {
        let before = state.clone();
        let announced = chunk.announced();
        let permit = self.writer.permits.acquire(&chunk.pusher).await?;
        let sizes = state.data.as_ref().map_or_else(
            || part_sizes(self.store.part_size(), announced),
            |data| PartSizes::resumed(data.part_len, LARGEST),
        );
        let hasher = state.hasher.clone();
        let body = HashingBody::new(chunk.body, hasher, announced, Arc::clone(&permit));
        let mut reader = PartReader::new(body);
        // The client finishes the state that has its digest, even if another request continued it since.
        let stands = end.is_some_and(|digest| state.hasher.clone().finish() == *digest);
        let older = match tails {
            Some(_) => Vec::new(),
            None => self.resume_tail(upload, &mut state, &mut reader, sizes.first(), stands).await?,
        };
        let mut sender = None;
        loop {
            let stored = state.data.as_ref().map_or(0, |data| data.parts);
            let next = sender.as_ref().map_or(stored + 1, PartSender::next_number);
            let part = match tails.take() {
                None => reader.part(sizes.of(next)).await?,
                Some(list) => {
                    self.first_part(upload, &before, &mut reader, sizes.of(next), (list, &mut *tails)).await?
                }
            };
            let Some(part) = part else {
                break;
            };
            let sender = match &mut sender {
                Some(sender) => sender,
                None => sender.insert(self.sender(upload, &mut state, sizes.first()).await?),
            };
            if !send(sender, part).await? {
                return Err(upload_unknown(upload).into());
            }
        }
        let (rest, len, hasher) = reader.end();
        state.offset += len;
        state.hasher = hasher;
        if let Some(sender) = &mut sender {
            finish(upload, sender, &mut state).await?;
        }
        Ok(ReceivedChunk { state, rest, sender, older, permit })
    }

    /// The first part, once it is certain that no later request superseded the state: a part that is sent replaces the
    /// later request's. If there is no whole part, the list of the tails goes `back`, as far as it is.
    async fn first_part<'a>(
        &self,
        upload: UploadRequest<'_>,
        before: &UploadState,
        reader: &mut PartReader,
        len: u64,
        (tails, back): (Tails<'a>, &mut Option<Tails<'a>>),
    ) -> Result<Option<Buffer>, Halt> {
        let part = pin!(reader.part(len));
        match select(part, tails).await {
            Either::Left((part, tails)) => {
                let part = part?;
                if part.is_some() {
                    self.require_newest(upload, before, &tails.await?).await?;
                } else {
                    *back = Some(tails);
                }
                Ok(part)
            }
            Either::Right((tails, part)) => {
                self.require_newest(upload, before, &tails?).await?;
                Ok(part.await?)
            }
        }
    }

    /// Sends the last bytes as a part, whatever their number.
    pub(super) async fn send_rest(
        &self,
        upload: UploadRequest<'_>,
        sender: &mut Option<PartSender>,
        state: &mut UploadState,
        rest: Buffer,
    ) -> Result<(), Error> {
        let sender = match sender {
            Some(sender) => sender,
            None => sender.insert(self.sender(upload, state, rest.len()).await?),
        };
        if !send(sender, rest).await? {
            return Err(upload_unknown(upload));
        }
        finish(upload, sender, state).await
    }

    /// Continues the state's multipart upload, or begins one, whose first part is of `first` bytes.
    async fn sender(
        &self,
        upload: UploadRequest<'_>,
        state: &mut UploadState,
        first: u64,
    ) -> Result<PartSender, Error> {
        let (store, senders) = (&self.store, &self.writer.senders);
        if let Some(data) = &state.data {
            let key = Key::UploadData(upload.name, &upload.id, &data.key);
            return Ok(senders.resume(store.resume(key, data.upload_id.clone()), data.parts));
        }
        let own = Uuid::new_v4();
        let multipart = store.begin(Key::UploadData(upload.name, &upload.id, &own)).await?;
        let (upload_id, digest) = (multipart.id().to_owned(), PartsDigest::default());
        state.data = Some(Data { key: own, upload_id, parts: 0, part_len: first, chain: digest });
        Ok(senders.begin(multipart))
    }
}

/// Waits for the parts, and makes the state vouch for them.
async fn finish(upload: UploadRequest<'_>, sender: &mut PartSender, state: &mut UploadState) -> Result<(), Error> {
    let sent = sender.finish().await?;
    let sent = sent.ok_or_else(|| upload_unknown(upload))?;
    if let Some(data) = &mut state.data {
        for part in &sent {
            data.chain.append(part);
            data.parts = part.number;
        }
    }
    Ok(())
}
