//! A blob whose digest is known before its first byte goes straight to its final key, where nothing can be read before
//! the last byte was verified. One that is there already is only hashed.

use std::sync::Arc;

use uuid::Uuid;

use super::ChunkRequest;
use super::body::{BlobBody, Incoming};
use super::buffer::Buffer;
use super::commit::require;
use super::intake::Intake;
use super::places::Turn;
use super::sender::{Sender, first_part_len, part_len};
use crate::oci::{Digest, Error, ErrorCode, Hasher, RepositoryName};
use crate::registry::Registry;
use crate::registry::failure::of_store;
use crate::store::{Key, StoreError};

impl Registry {
    /// `allowed` is asked at the same time as whether the blob is there.
    pub(super) async fn store_direct(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        chunk: ChunkRequest,
        allowed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        if chunk.range.is_some_and(|range| range.start != 0) {
            let message = "the first byte of a blob is byte 0";
            return Err(Error::new(ErrorCode::RangeInvalid, message));
        }
        let announced = chunk.range.map(|range| range.len).or(chunk.len);
        let hasher = Hasher::new(digest.algorithm());
        let turn = self.inner.uploads.places.soon(&chunk.pusher).await?;
        let incoming = Incoming::new(chunk.body, hasher, announced, Arc::clone(&turn));
        let (stored, ()) = tokio::try_join!(self.stored_size(digest), allowed)?;
        let ready = match stored {
            Some(size) => {
                verify(incoming, digest).await?;
                (None, size)
            }
            None => self.receive_blob(incoming, digest).await?,
        };
        self.keep_blob(name, digest, ready).await
    }

    /// Stores a blob of the upstream's that comes as a push would. Whoever calls has a place for it.
    pub(in crate::registry) async fn store_passing(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: Option<u64>,
        body: BlobBody,
        turn: &Arc<Turn>,
    ) -> Result<(), Error> {
        let hasher = Hasher::new(digest.algorithm());
        let incoming = Incoming::new(body, hasher, size, Arc::clone(turn));
        let ready = self.receive_blob(incoming, digest).await?;
        self.keep_blob(name, digest, ready).await
    }

    /// Makes a verified blob appear, as the repository's.
    async fn keep_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        (arrived, size): (Option<Arrived>, u64),
    ) -> Result<(), Error> {
        let (registry, name, digest) = (self.clone(), name.clone(), *digest);
        let keep = async move {
            if let Some(arrived) = arrived {
                registry.put_in_bucket(arrived, &digest).await?;
            }
            registry.blob_pushed(&name, &digest, size).await
        };
        self.inner.background.to_its_end(keep).await
    }

    /// Reads and verifies a blob, and sends all but its last bytes; tells its size, too.
    async fn receive_blob(&self, incoming: Incoming, digest: &Digest) -> Result<(Option<Arrived>, u64), Error> {
        let (store, uploads) = (&self.inner.store, &self.inner.uploads);
        let first = first_part_len(store.part_size(), incoming.left());
        let mut intake = Intake::new(incoming);
        let mut sender: Option<Sender> = None;
        loop {
            let next = sender.as_ref().map_or(1, Sender::next);
            let Some(part) = intake.part(part_len(first, next)).await? else {
                break;
            };
            let sender = if let Some(sender) = &mut sender {
                sender
            } else {
                let upload = store.begin(Key::Blob(digest)).await.map_err(of_store)?;
                let begun = Sender::new(upload, 0, Arc::clone(&uploads.parts), Uuid::nil());
                sender.insert(begun.owned(&self.inner.background))
            };
            if !sender.send(part).await? {
                return Err(gone());
            }
        }
        let (rest, size, hasher) = intake.end();
        require(digest, hasher.finish())?;
        Ok((Some(Arrived { sender, rest }), size))
    }

    /// Makes a verified blob appear.
    async fn put_in_bucket(&self, arrived: Arrived, digest: &Digest) -> Result<(), Error> {
        let Arrived { sender, rest } = arrived;
        let Some(mut sender) = sender else {
            let (len, (source, _room)) = (rest.len(), rest.into_source());
            let put = self.inner.store.put_blob(Key::Blob(digest), len, source);
            return put.await.map_err(of_store);
        };
        if rest.len() > 0 && !sender.send(rest).await? {
            return Err(gone());
        }
        let parts = sender.finish().await?.ok_or_else(gone)?;
        sender.upload().complete(parts).await.map_err(of_store)?;
        sender.disown();
        Ok(())
    }
}

/// A verified blob that is on its way, but for its last bytes.
struct Arrived {
    sender: Option<Sender>,
    rest: Buffer,
}

/// Reads a blob that is stored already: who pushes it must have it.
async fn verify(mut incoming: Incoming, digest: &Digest) -> Result<(), Error> {
    while incoming.next().await?.is_some() {}
    require(digest, incoming.hasher.finish())
}

fn gone() -> Error {
    of_store(StoreError::Unavailable { operation: "UploadPart", cause: "the upload is gone from the bucket".into() })
}
