//! A blob whose digest is known before its first byte goes straight to its final key, where no client can read it
//! before the last byte was verified. One that is there already is only hashed.

use std::sync::Arc;

use super::buffer::Buffer;
use super::hashing_body::HashingBody;
use super::part_reader::PartReader;
use super::parts::{PartSenders, part_sizes, send};
use super::permits::BodyPermits;
use crate::oci::{Digest, Error, ErrorCode, RepositoryName};
use crate::registry::links::Links;
use crate::registry::runtime::{Background, Moment};
use crate::store::{Key, PartSender, Store, StoreError};

/// Stores blobs whose bytes pass through memory.
#[derive(Debug)]
pub(in crate::registry) struct BlobWriter {
    store: Store,
    links: Arc<Links>,
    background: Arc<Background>,
    pub(in crate::registry) permits: BodyPermits,
    pub(in crate::registry) senders: PartSenders,
}

/// A verified blob that was sent, but for its last bytes.
struct ReceivedBlob {
    sender: Option<PartSender>,
    rest: Buffer,
    size: u64,
}

impl BlobWriter {
    pub(in crate::registry) fn new(store: &Store, links: &Arc<Links>, background: &Arc<Background>) -> Self {
        Self {
            store: store.clone(),
            links: Arc::clone(links),
            background: Arc::clone(background),
            permits: BodyPermits::default(),
            senders: PartSenders::new(background),
        }
    }

    /// Stores a blob and links it to the repository. If the bucket has it, the bytes are only verified, because a
    /// client that pushes a blob must have it. `allowed` is asked at the same time as the bucket.
    ///
    /// # Errors
    /// `DIGEST_INVALID`, `SIZE_INVALID`, `BLOB_UPLOAD_INVALID`: the bytes are not those that were announced.
    /// `TOOMANYREQUESTS`, `UNAVAILABLE`; and those of `allowed`.
    pub(in crate::registry) async fn store_or_verify(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
        mut body: HashingBody,
        allowed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let began = self.links.begin();
        let (stored, ()) = tokio::try_join!(self.links.stored_size(digest), allowed)?;
        if let Some(size) = stored {
            while body.next().await?.is_some() {}
            require_digest(digest, body.hasher.finish())?;
            return self.keep((name, digest), size, None, began).await;
        }
        let received = self.receive(body, digest).await?;
        self.keep((name, digest), received.size, Some(received), began).await
    }

    /// Makes a verified blob appear, and links it to the repository.
    async fn keep(
        self: &Arc<Self>,
        (name, digest): (&RepositoryName, &Digest),
        size: u64,
        received: Option<ReceivedBlob>,
        began: Moment,
    ) -> Result<(), Error> {
        let (writer, name, digest) = (Arc::clone(self), name.clone(), *digest);
        let keep = async move {
            let links = &writer.links;
            match received {
                Some(ReceivedBlob { sender: None, rest, .. }) => {
                    let put = Box::pin(put(&writer.store, rest, &digest));
                    return links.store_pushed(&name, &digest, size, began, put).await;
                }
                Some(ReceivedBlob { sender: Some(sender), rest, .. }) => complete(sender, rest).await?,
                None => {}
            }
            links.link_pushed(&name, &digest, size, began).await
        };
        self.background.complete(keep).await
    }

    /// Reads and verifies a blob, and sends all but its last bytes.
    async fn receive(&self, body: HashingBody, digest: &Digest) -> Result<ReceivedBlob, Error> {
        let sizes = part_sizes(self.store.part_size(), body.left());
        let mut reader = PartReader::new(body);
        let mut sender: Option<PartSender> = None;
        loop {
            let next = sender.as_ref().map_or(1, PartSender::next_number);
            let Some(part) = reader.part(sizes.of(next)).await? else {
                break;
            };
            let sender = if let Some(sender) = &mut sender {
                sender
            } else {
                let upload = self.store.begin(Key::Blob(digest)).await?;
                sender.insert(self.senders.begin(upload))
            };
            if !send(sender, part).await? {
                return Err(upload_gone());
            }
        }
        let (rest, size, hasher) = reader.end();
        require_digest(digest, hasher.finish())?;
        Ok(ReceivedBlob { sender, rest, size })
    }
}

/// Puts a verified blob into the bucket that is in memory as a whole.
pub(in crate::registry) async fn put(store: &Store, blob: Buffer, digest: &Digest) -> Result<(), Error> {
    let (len, (source, _memory)) = (blob.len(), blob.into_source());
    Ok(store.put_blob(Key::Blob(digest), len, source).await?)
}

/// Sends the last bytes of a verified blob, and makes it appear.
async fn complete(mut sender: PartSender, rest: Buffer) -> Result<(), Error> {
    if rest.len() > 0 && !send(&mut sender, rest).await? {
        return Err(upload_gone());
    }
    let parts = sender.finish().await?.ok_or_else(upload_gone)?;
    sender.upload().complete(parts).await?;
    sender.disown();
    Ok(())
}

/// The bytes must have the digest that the client gave.
///
/// # Errors
/// `DIGEST_INVALID`.
pub(in crate::registry) fn require_digest(expected: &Digest, actual: Digest) -> Result<(), Error> {
    if *expected == actual {
        return Ok(());
    }
    let message = format!("the bytes that came have the digest {actual}, not {expected}");
    Err(Error::new(ErrorCode::DigestInvalid, message))
}

fn upload_gone() -> Error {
    StoreError::Unavailable { operation: "UploadPart", cause: "the upload is gone from the bucket".into() }.into()
}
