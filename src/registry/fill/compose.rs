//! The chunks of a verified blob become the blob: the bucket copies them, or, where it cannot, they are sent once more.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use uuid::Uuid;

use super::bucket_chunks::{BucketChunks, ChunkBytes};
use super::chunks::Stored;
use super::filled_blob::{FilledBlob, Place};
use super::memory::{Block, Memory};
use super::{Fills, commit};
use crate::config::Compose;
use crate::oci::Hasher;
use crate::store::{ComposeSource, Composed, FilledFor, Key, Multipart, Part, PartSender, Store, StoreError};

/// How many chunks are sent at once, where they are sent.
const PARALLEL: usize = 4;
/// How many chunks one list names.
const PAGE: i32 = 1000;

const GONE: &str = "the upload is gone from the bucket";

/// Why a blob is not stored.
#[derive(Debug)]
pub(super) enum Uncommitted {
    /// The chunk of this number is gone, or another object is in its place.
    SourceChanged(u64),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Uncommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceChanged(number) => write!(f, "chunk {number} was exchanged in the bucket"),
            Self::Other(cause) => f.write_str(cause),
        }
    }
}

impl<T: Into<Box<dyn Error + Send + Sync>>> From<T> for Uncommitted {
    fn from(cause: T) -> Self {
        Self::Other(cause.into().to_string())
    }
}

/// Makes the blob, of `size` bytes, appear out of its chunks, after `link` ran. The upload is aborted otherwise.
///
/// # Errors
/// Why it is not stored.
pub(super) async fn run(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
    filled: &Arc<FilledBlob>,
    size: u64,
    link: impl Future<Output = ()>,
) -> Result<(), Uncommitted> {
    const STOPPED: &str = "the registry is shutting down";
    if filled.chunks().is_some_and(|chunks| chunks.all().is_empty()) {
        // It turned out to be smaller than a chunk.
        return Ok(commit::put(fills, (key, filled_for), filled, size, link).await?);
    }
    let upload = tokio::select! {
        upload = fills.store.begin_filled(key, filled_for) => upload?,
        () = fills.background.stopped() => return Err(STOPPED.into()),
    };
    let mut sender = PartSender::new(upload, PARALLEL);
    let composed = tokio::select! {
        composed = compose(fills, &mut sender, filled, size, link) => composed,
        () = fills.background.stopped() => Err(STOPPED.into()),
    };
    if composed.is_err() {
        sender.abort().await;
    }
    composed
}

async fn compose(
    fills: &Fills,
    sender: &mut PartSender,
    filled: &Arc<FilledBlob>,
    size: u64,
    link: impl Future<Output = ()>,
) -> Result<(), Uncommitted> {
    let chunks = filled.chunks().ok_or("the blob has no chunks")?;
    let all = chunks.all();
    if all.len() as u64 != filled.layout().count(size) {
        return Err("a chunk is missing".into());
    }
    let copied = match fills.compose {
        Compose::Copy => copy(&fills.store, sender.upload(), (chunks, &all), size).await?,
        Compose::Send => None,
    };
    let parts = match copied {
        Some(parts) => parts,
        None => send(fills, sender, filled, &all).await?,
    };
    link.await;
    Ok(sender.upload().complete(parts).await?)
}

/// Lets the bucket copy the chunks; `None`: it cannot.
///
/// Each is named by the `ETag` that the bucket gave it when its bytes were sent, or read, to be hashed. So a chunk that
/// another program exchanged is refused; and a store that ignores that condition is found out by the list, because a
/// chunk's name is written once.
async fn copy(
    store: &Store,
    upload: &Multipart,
    (chunks, all): (&BucketChunks, &[(u64, Stored)]),
    size: u64,
) -> Result<Option<Vec<Part>>, Uncommitted> {
    let len = |number: u64| {
        let slice = chunks.layout().slice(number);
        slice.end.min(size) - slice.start
    };
    let sources: Vec<_> = all
        .iter()
        .map(|(number, stored)| ComposeSource {
            key: chunks.key(*number, &stored.generation),
            // A chunk that was hashed has one.
            etag: stored.etag.as_deref().unwrap_or_default(),
            len: len(*number),
        })
        .collect();
    let parts = match store.compose(upload, &sources).await? {
        Composed::Parts(parts) => parts,
        Composed::SourceChanged(index) => return Err(Uncommitted::SourceChanged(index as u64)),
        Composed::Gone => return Err(GONE.into()),
        Composed::Unsupported => return Ok(None),
    };
    let generations: BTreeSet<_> = all.iter().map(|(_, stored)| stored.generation).collect();
    for generation in generations {
        let listed = list(store, chunks, &generation).await?;
        for (number, stored) in all.iter().filter(|(_, stored)| stored.generation == generation) {
            let is_same = listed.get(number).is_some_and(|(etag, bytes)| {
                let known = stored.etag.as_deref().unwrap_or_default();
                let is_same = |etag: &String| etag.trim_matches('"') == known.trim_matches('"');
                etag.as_ref().is_none_or(is_same) && *bytes == len(*number)
            });
            if !is_same {
                return Err(Uncommitted::SourceChanged(*number));
            }
        }
    }
    Ok(Some(parts))
}

/// The chunks of a generation that the bucket has, by their numbers: their `ETag`s and sizes.
async fn list(
    store: &Store,
    chunks: &BucketChunks,
    generation: &Uuid,
) -> Result<BTreeMap<u64, (Option<String>, u64)>, StoreError> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let (page, more) = store.objects(chunks.directory(generation), after.as_deref(), PAGE).await?;
        after = page.last().map(|listed| listed.path.clone());
        let named = page.into_iter().filter_map(|listed| {
            // Heads have other names.
            let offset = u64::from_str_radix(&listed.path, 16).ok()?;
            Some((chunks.layout().number(offset), (listed.etag, listed.size)))
        });
        all.extend(named);
        if !more || after.is_none() {
            return Ok(all);
        }
    }
}

/// Sends the chunks once more, as parts, and hashes just what is sent.
async fn send(
    fills: &Fills,
    sender: &mut PartSender,
    filled: &Arc<FilledBlob>,
    all: &[(u64, Stored)],
) -> Result<Vec<Part>, Uncommitted> {
    let digest = filled.digest();
    let mut hasher = Hasher::new(digest.algorithm());
    for (number, _) in all {
        let (bytes, memory) = read(fills, filled, *number).await?;
        hasher.update(&bytes);
        let bytes = ChunkBytes::Memory(bytes);
        if !sender.send(bytes.len(), bytes.source(), memory).await? {
            return Err(GONE.into());
        }
    }
    let parts = sender.finish().await?.ok_or(GONE)?;
    if hasher.finish() != digest {
        return Err("the chunks in the bucket are not the ones that were stored".into());
    }
    Ok(parts)
}

/// A chunk, with the memory that it takes beyond the window's.
async fn read(fills: &Fills, filled: &FilledBlob, number: u64) -> Result<(Bytes, Option<Arc<Block>>), Uncommitted> {
    if let Place::Memory(window) = filled.place()
        && let Some(bytes) = window.chunk(number)
    {
        return Ok((bytes, None));
    }
    let (digest, mut slice) = (filled.digest(), filled.layout().slice(number));
    // Without a size, the last chunk is one that is not full.
    slice.end = slice.end.min(filled.written());
    let len = slice.end - slice.start;
    let block = match fills.memory.block_now(digest, len) {
        Some(block) => block,
        None => Memory::block(digest, len, fills.memory.reserve(&digest, len).await),
    };
    let mut stream = filled.stream_chunk(slice).await?.ok_or(Uncommitted::SourceChanged(number))?;
    let mut offset = 0;
    while let Some(piece) = stream.next().await.transpose()? {
        let next = offset + piece.len() as u64;
        if !block.write(offset, &[piece]) {
            return Err("the bucket sent more than it said".into());
        }
        offset = next;
    }
    block.end();
    match block.whole() {
        Some(bytes) if offset == len => Ok((bytes, Some(block))),
        _ => Err("the bucket sent less than it said".into()),
    }
}
