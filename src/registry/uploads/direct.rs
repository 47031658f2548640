//! A blob whose digest is known before its first byte goes straight to its final key, where nothing
//! can be read before the last byte was verified. One that is there already is only hashed.

use std::sync::Arc;

use uuid::Uuid;

use super::ChunkRequest;
use super::body::{Buffer, Incoming};
use super::commit::require;
use super::sender::{Sender, part_len};
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
        let incoming = Incoming::new(chunk.body, hasher, announced);
        let _turn = self.inner.uploads.turn().await?;
        let (stored, ()) = tokio::try_join!(self.stored_size(digest), allowed)?;
        let size = match stored {
            Some(size) => {
                verify(incoming, digest).await?;
                size
            }
            None => self.store_blob(incoming, digest).await?,
        };
        self.blob_pushed(name, digest, size).await
    }

    /// Returns the blob's size.
    async fn store_blob(&self, mut incoming: Incoming, digest: &Digest) -> Result<u64, Error> {
        let (store, key) = (&self.inner.store, Key::Blob(digest));
        let mut rest = Buffer::default();
        let mut sender: Option<Sender> = None;
        while let Some(piece) = incoming.next().await? {
            rest.push(piece);
            let next = sender.as_ref().map_or(1, Sender::next);
            let len = part_len(store.part_size(), next);
            // More than one part: a blob that fits into one is put in one request.
            while rest.len() > len {
                let sender = if let Some(sender) = &mut sender {
                    sender
                } else {
                    let upload = store.begin(key).await.map_err(of_store)?;
                    let slots = Arc::clone(&self.inner.uploads.parts);
                    let begun = Sender::new(upload, 0, slots, Uuid::nil());
                    sender.insert(begun.owned(&self.inner.background))
                };
                if !sender.send(rest.take(len)).await? {
                    return Err(gone());
                }
            }
        }
        require(digest, incoming.hasher.finish())?;
        let Some(mut sender) = sender else {
            let put = store.put_blob(key, rest.len(), rest.into_source()).await;
            return put.map(|()| incoming.len).map_err(of_store);
        };
        if !sender.send(rest).await? {
            return Err(gone());
        }
        let parts = sender.finish().await?.ok_or_else(gone)?;
        sender.upload().complete(parts).await.map_err(of_store)?;
        sender.disown();
        Ok(incoming.len)
    }
}

/// Reads a blob that is stored already: who pushes it must have it.
async fn verify(mut incoming: Incoming, digest: &Digest) -> Result<(), Error> {
    while incoming.next().await?.is_some() {}
    require(digest, incoming.hasher.finish())
}

fn gone() -> Error {
    of_store(StoreError::Unavailable {
        operation: "UploadPart",
        cause: "the upload is gone from the bucket".into(),
    })
}
