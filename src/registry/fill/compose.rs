//! The chunks of a verified blob become the blob: the bucket copies them, or, where it cannot, they are sent once more.
//! Where the bucket denies chunks, those in memory are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use uuid::Uuid;

use super::Fills;
use super::bucket_chunks::{BucketChunks, ChunkBytes, MISSING_TIMEOUT, PAUSE};
use super::chunks::Stored;
use super::commit::{self, GONE, STOPPED};
use super::filled_blob::{FilledBlob, Place};
use super::memory::Block;

use crate::config::Compose;
use crate::oci::Hasher;
use crate::store::{
    ComposeSource, Composed, FillObject, FilledFor, Key, Multipart, Part, PartSender, Store, StoreError, is_same_etag,
    is_weak_etag,
};

/// How many chunks one list names.
const PAGE: i32 = 1000;
/// How many bytes are hashed at once, so that others get their turn on the same thread.
const HASHED: usize = 256 << 10;
/// How long a bucket that fails is asked again to make the blob: its chunks would otherwise be downloaded once more.
const TIMEOUT: Duration = Duration::from_mins(5);
/// The first pause before it is asked again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a blob is not stored.
#[derive(Debug)]
pub(super) enum Uncommitted {
    /// Another object is in the place of the chunk of this number, or it is gone.
    SourceChanged(u64),
    /// The bucket does not show the chunk of this number now.
    Missing(u64),
    /// The bucket did not do it now.
    Unavailable(String),
    /// The bucket denies it.
    Denied(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Uncommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceChanged(number) => write!(f, "chunk {number} was exchanged in the bucket, or deleted"),
            Self::Missing(number) => write!(f, "chunk {number} is not in the bucket"),
            Self::Unavailable(cause) | Self::Denied(cause) | Self::Other(cause) => f.write_str(cause),
        }
    }
}

impl From<StoreError> for Uncommitted {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::Unavailable(error.to_string()),
            StoreError::Denied { .. } => Self::Denied(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<io::Error> for Uncommitted {
    fn from(error: io::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<&str> for Uncommitted {
    fn from(cause: &str) -> Self {
        Self::Other(cause.to_owned())
    }
}

impl Uncommitted {
    /// How long the bucket is asked again after this.
    const fn patience(&self) -> Duration {
        match self {
            Self::Missing(_) => MISSING_TIMEOUT,
            Self::Unavailable(_) => TIMEOUT,
            Self::SourceChanged(_) | Self::Denied(_) | Self::Other(_) => Duration::ZERO,
        }
    }
}

/// Makes the blob, of `size` bytes, appear out of its chunks, after `link` ran. A bucket that fails is asked again for a
/// while, because all bytes are there. The upload is aborted otherwise.
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
    if filled.layout().count(size) <= 1 && filled.chunks().is_some_and(|chunks| chunks.all().is_empty()) {
        // It turned out to be smaller than a chunk, or the bucket denied its only one.
        return commit::put(fills, (key, filled_for), filled, size, link).await.map_err(Uncommitted::Other);
    }
    let (began, link, digest) = (Instant::now(), link.shared(), filled.digest());
    let mut pause = FIRST_PAUSE;
    loop {
        let uncommitted = match try_once(fills, (key, filled_for), filled, size, link.clone()).await {
            Err(uncommitted) if began.elapsed() < uncommitted.patience() => uncommitted,
            Err(Uncommitted::Missing(number)) => return Err(Uncommitted::SourceChanged(number)),
            ended => return ended,
        };
        tracing::warn!(%digest, cause = %uncommitted, "a blob is not made of its chunks yet, the bucket is asked again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = fills.background.stopped() => return Err(STOPPED.into()),
        }
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

async fn try_once(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
    filled: &Arc<FilledBlob>,
    size: u64,
    link: impl Future<Output = ()>,
) -> Result<(), Uncommitted> {
    let mut sender = commit::begin(fills, (key, filled_for)).await?.ok_or(STOPPED)?;
    let composed = tokio::select! {
        composed = compose(fills, &mut sender, filled, size, link) => composed,
        () = fills.background.stopped() => Err(STOPPED.into()),
    };
    commit::end(sender, composed.is_ok()).await;
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
    let (all, count) = (chunks.all(), filled.layout().count(size));
    if !filled.has_chunks(count) {
        return Err("not all chunks of the blob are stored".into());
    }
    let copied = match fills.compose {
        Compose::Copy if all.len() as u64 == count => copy(&fills.store, sender.upload(), (chunks, &all), size).await,
        // The bucket denied chunks, or copying is turned off.
        Compose::Copy | Compose::Send => Ok(None),
    };
    let parts = match copied {
        Err(Uncommitted::Denied(cause)) => {
            fills.chunk_queue.warn(&cause);
            None
        }
        copied => copied?,
    };
    let parts = match parts {
        Some(parts) => parts,
        None => send(fills, sender, filled, count).await?,
    };
    link.await;
    Ok(sender.upload().complete(parts).await?)
}

/// Lets the bucket copy the chunks; `None`: it cannot.
///
/// Each is named by the `ETag` that the bucket gave it when its bytes were sent, or read, to be hashed. So a chunk that
/// another program exchanged is refused; and a store that ignores that condition is found out by the list, because a
/// chunk's name is written once. Without `ETag`s that can be compared, nothing is copied.
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
    let mut sources = Vec::with_capacity(all.len());
    for (number, stored) in all {
        let Some(etag) = stored.etag.as_deref().filter(|etag| !is_weak_etag(etag)) else {
            return Ok(None);
        };
        sources.push(ComposeSource { key: chunks.key(*number, &stored.generation), etag, len: len(*number) });
    }
    let parts = match store.compose(upload, &sources).await? {
        Composed::Parts(parts) => parts,
        Composed::SourceChanged(index) => return Err(Uncommitted::SourceChanged(index as u64)),
        Composed::SourceMissing(index) => return Err(Uncommitted::Missing(index as u64)),
        Composed::Gone => return Err(Uncommitted::Unavailable(GONE.to_owned())),
        Composed::Unsupported => return Ok(None),
    };
    let began = Instant::now();
    loop {
        match are_listed(store, chunks, all, len).await {
            // A list may show late what was stored a moment ago.
            Err(Uncommitted::Missing(_)) if began.elapsed() < MISSING_TIMEOUT => tokio::time::sleep(PAUSE).await,
            listed => return Ok(listed?.then_some(parts)),
        }
    }
}

/// Whether the bucket lists the chunks, of these lengths, and with their `ETag`s; `false`: it lists no `ETag`s.
async fn are_listed(
    store: &Store,
    chunks: &BucketChunks,
    all: &[(u64, Stored)],
    len: impl Fn(u64) -> u64,
) -> Result<bool, Uncommitted> {
    let generations: BTreeSet<_> = all.iter().map(|(_, stored)| stored.generation).collect();
    for generation in generations {
        let listed = list(store, chunks, &generation).await?;
        for (number, stored) in all.iter().filter(|(_, stored)| stored.generation == generation) {
            let (etag, bytes) = listed.get(number).ok_or(Uncommitted::Missing(*number))?;
            let (Some(etag), Some(known)) = (etag, &stored.etag) else {
                return Ok(false);
            };
            if !is_same_etag(etag, known) || *bytes != len(*number) {
                return Err(Uncommitted::SourceChanged(*number));
            }
        }
    }
    Ok(true)
}

/// The chunks of a generation that the bucket has, by their numbers: their `ETag`s and sizes.
async fn list(
    store: &Store,
    chunks: &BucketChunks,
    generation: &Uuid,
) -> Result<BTreeMap<u64, (Option<String>, u64)>, StoreError> {
    let layout = chunks.layout();
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let (page, more) = store.objects(chunks.directory(generation), after.as_deref(), PAGE).await?;
        after = page.last().map(|listed| listed.path.clone());
        let named = page.into_iter().filter_map(|listed| {
            let FillObject::Chunk(_, offset) = FillObject::parse(&format!("{generation}/{}", listed.path))? else {
                return None;
            };
            let number = layout.number(offset);
            (layout.slice(number).start == offset).then_some((number, (listed.etag, listed.size)))
        });
        all.extend(named);
        if !more || after.is_none() {
            return Ok(all);
        }
    }
}

/// Sends the chunks as parts, once more where the bucket has them, and hashes just what is sent.
async fn send(
    fills: &Fills,
    sender: &mut PartSender,
    filled: &Arc<FilledBlob>,
    count: u64,
) -> Result<Vec<Part>, Uncommitted> {
    let digest = filled.digest();
    let mut hasher = Hasher::new(digest.algorithm());
    for number in 0..count {
        let (bytes, memory) = read(fills, filled, number).await?;
        for piece in bytes.chunks(HASHED) {
            hasher.update(piece);
            tokio::task::yield_now().await;
        }
        let bytes = ChunkBytes::Memory(bytes);
        if !sender.send(bytes.len(), bytes.source(), memory).await? {
            return Err(Uncommitted::Unavailable(GONE.to_owned()));
        }
    }
    let parts = sender.finish().await?.ok_or_else(|| Uncommitted::Unavailable(GONE.to_owned()))?;
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
        None => fills.memory.block(digest, len, fills.memory.reserve(&digest, len).await),
    };
    let mut stream = filled.stream_chunk(slice).await?.ok_or(Uncommitted::SourceChanged(number))?;
    let mut offset = 0;
    while let Some(piece) = stream.next().await.transpose()? {
        let next = offset + piece.len() as u64;
        if !block.write(offset, &[piece]) {
            return Err(Uncommitted::Unavailable("the bucket sent more than it said".to_owned()));
        }
        offset = next;
    }
    block.end(len);
    match block.whole() {
        Some(bytes) if offset == len => Ok((bytes, Some(block))),
        _ => Err(Uncommitted::Unavailable("the bucket sent less than it said".to_owned())),
    }
}
