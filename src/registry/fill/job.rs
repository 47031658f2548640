//! One fill: what it is about, where its bytes go, and filling for this process alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use uuid::Uuid;

use super::blob_file::is_no_room;
use super::bucket_chunks::BucketChunks;
use super::chunks::{Layout, MOST, chunk_size};
use super::compose::Uncommitted;
use super::download::{self, Broken};
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::hashing::Start;
use super::lease_keeper::LeaseKeeper;
use super::plan::SEGMENT;
use super::running::{Fill, FillRefusal, Phase};
use super::upstream_blob::UpstreamBlob;
use super::window::Window;
use super::{Fills, SMALL, commit, compose};
use crate::oci::Hasher;
use crate::store::{FilledFor, Key, UpstreamId};
use crate::upstream::BlobResponse;

/// How often a fill that waits looks whether requests still wait for it.
const LEFT: Duration = Duration::from_secs(1);

/// A fill's task.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) fills: Arc<Fills>,
    pub(super) blob: UpstreamBlob,
    /// The size that a manifest gives the blob, in bytes.
    pub(super) announced: Option<u64>,
}

/// Why a fill ended without the blob.
pub(super) enum NotFilled {
    /// Before the first byte.
    Refused(FillRefusal),
    /// In the middle.
    Failed(String),
    /// No request needs it, and another process fills the blob. It is off the list.
    Unneeded,
}

/// What a fill leaves in the bucket, to be deleted.
pub(super) enum Leftovers {
    None,
    /// Chunks that only this process reads.
    Chunks(Arc<FilledBlob>, Uuid),
    /// A lease and its chunks, which other processes read for so long.
    Lease(Arc<LeaseKeeper>, Duration),
}

impl Job {
    /// Fills the blob for this process alone. `begun` is the upstream's response, if it is there already.
    pub(super) async fn fill_alone(
        &self,
        fill: &Arc<Fill>,
        phase: &watch::Sender<Phase>,
        begun: Option<BlobResponse>,
        leftovers: &mut Leftovers,
    ) -> Result<u64, NotFilled> {
        let digest = self.blob.digest;
        let prepared = async {
            let response = match begun {
                Some(response) => response,
                None => self.begin().await?,
            };
            let place = self.place(response.size).await?;
            Ok((response, place))
        };
        let (response, (layout, place, chunks)) = prepared.await.map_err(NotFilled::Refused)?;
        let (filled, watermark) = FilledBlob::new((&self.fills.store, digest), response.size, layout, place, chunks);
        phase.send_replace(Phase::Filling(Arc::clone(&filled)));
        let generation = Uuid::new_v4();
        *leftovers = Leftovers::Chunks(Arc::clone(&filled), generation);
        // An upstream that says no size must not fill the bucket. A manifest may be wrong by a little.
        let bound = self.announced.map_or(layout.chunk.saturating_mul(MOST), |announced| announced.max(SMALL));
        let at_most = if response.size.is_some() { u64::MAX } else { bound };
        let start = Start { generation, hashed: 0, hasher: Hasher::new(digest.algorithm()), at_most };
        let download = download::run((&self.fills, &self.blob), Some(response), &filled, &watermark, start);
        let copied = Box::pin(self.copy(fill, &filled, (&watermark, download))).await;
        if copied.is_err() {
            // The next fill of the blob needs the memory, too.
            filled.release();
        }
        let size = copied.map_err(NotFilled::Failed)?;
        // From now on, readers find in the blob what is not in memory any more.
        watermark.send_modify(|watermark| watermark.state = BlobState::Stored);
        filled.release();
        Ok(size)
    }

    /// The permit to run, as soon as fewer fills run than can at once. A fill that waits for it ends when no request
    /// waits for the fill.
    pub(super) async fn permit(&self, fill: &Arc<Fill>) -> Result<OwnedSemaphorePermit, FillRefusal> {
        let Fills { permits, background, .. } = &*self.fills;
        let is_left = async {
            // The list of fills and this task know it.
            while Arc::strong_count(fill) > 2 {
                tokio::time::sleep(LEFT).await;
            }
        };
        tokio::select! {
            biased;
            // The semaphore is never closed.
            permit = Arc::clone(permits).acquire_owned() => permit.map_err(|_| FillRefusal::shutting_down()),
            () = background.stopped() => Err(FillRefusal::shutting_down()),
            () = is_left => Err(FillRefusal::Busy),
        }
    }

    /// The upstream's headers.
    pub(super) async fn begin(&self) -> Result<BlobResponse, FillRefusal> {
        let Fills { background, tuning, .. } = &*self.fills;
        // A segment lies within a chunk.
        let segment = SEGMENT.min(tuning.chunk.unwrap_or(SEGMENT));
        let is_large = self.announced.is_none_or(|announced| announced > segment);
        let first = is_large.then_some(segment);
        tokio::select! {
            response = self.blob.begin(first, self.announced) => response.map_err(FillRefusal::Upstream),
            () = background.stopped() => Err(FillRefusal::shutting_down()),
        }
    }

    /// Where a blob of `size` bytes, if that is known, is filled: in a file, in memory as a whole, or in chunks that
    /// pass through memory.
    async fn place(&self, size: Option<u64>) -> Result<(Layout, Place, Option<BucketChunks>), FillRefusal> {
        let Fills { store, memory, directory, tuning, .. } = &*self.fills;
        let digest = self.blob.digest;
        let whole = Layout { size, chunk: u64::MAX };
        match directory.create(size).await {
            Ok(Some(file)) => return Ok((whole, Place::File(file), None)),
            Ok(None) => {}
            Err(error) if is_no_room(&error) => return Err(FillRefusal::Full(Arc::from(error.to_string()))),
            Err(error) => return Err(FillRefusal::NoPlace(Arc::from(error.to_string()))),
        }
        let denied = self.fills.chunk_queue.denied();
        // Where the bucket takes no chunks, there is only memory.
        let small = size.filter(|size| *size < self.fills.small || denied.is_some());
        if let Some(size) = small
            && let Some(window) = Window::whole(memory, digest, size)
        {
            return Ok((whole, Place::Memory(Box::new(window)), None));
        }
        if let Some(cause) = denied {
            return Err(FillRefusal::NoPlace(cause));
        }
        let chunk = tuning.chunk.or_else(|| chunk_size(size.unwrap_or(0), memory.most()));
        let layout = Layout { size, chunk: chunk.ok_or(FillRefusal::TooLarge)? };
        let window = Window::new(memory, digest, layout);
        let is_cut = size.is_none_or(|size| size > layout.chunk);
        let upstream = UpstreamId::of_url(self.blob.upstream.label());
        let chunks = is_cut.then(|| BucketChunks::new(store, digest, upstream, layout));
        Ok((layout, Place::Memory(Box::new(window)), chunks))
    }

    /// Deletes the chunks of a fill that has ended: readers go on in the blob.
    pub(super) async fn delete_chunks(&self, filled: &FilledBlob, generation: Uuid) {
        let Some(chunks) = filled.chunks() else {
            return;
        };
        if let Err(error) = chunks.delete(&generation).await {
            let digest = self.blob.digest;
            tracing::warn!(%error, %digest, "chunks of a fill stay in the bucket until they are swept");
        }
    }

    /// Downloads the blob and stores it: at once, or, if it is cut into chunks, one after the other. Returns its size.
    /// An upload that fails does not stop the download, because clients follow it.
    async fn copy(
        &self,
        fill: &Arc<Fill>,
        filled: &Arc<FilledBlob>,
        (watermark, download): (&watch::Sender<Watermark>, impl Future<Output = Result<u64, Broken>>),
    ) -> Result<u64, String> {
        let downloaded = async {
            let downloaded = download.await;
            if downloaded.is_err() && !filled.watermark().state.is_verified() {
                watermark.send_modify(|watermark| watermark.state = BlobState::Failed);
                filled.close();
                // The next request begins anew, while this fill still aborts its upload.
                self.remove(fill);
            }
            downloaded.map_err(|broken| broken.to_string())
        };
        if filled.chunks().is_some() {
            let size = downloaded.await?;
            self.store(fill, filled, Some(size)).await.map_err(|uncommitted| uncommitted.to_string())?;
            return Ok(size);
        }
        let (downloaded, stored) = tokio::join!(downloaded, self.store(fill, filled, None));
        let size = downloaded?;
        stored.map(|()| size).map_err(|uncommitted| uncommitted.to_string())
    }

    /// Stores the blob, and links it to the repositories that asked for it. `size` is that of a blob whose chunks are
    /// stored.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) async fn store(
        &self,
        fill: &Arc<Fill>,
        filled: &Arc<FilledBlob>,
        size: Option<u64>,
    ) -> Result<(), Uncommitted> {
        let links = &self.fills.links;
        let digest = self.blob.digest;
        let key = (Key::Blob(&digest), FilledFor::new(&self.blob.name, &digest));
        let (mut linked, began) = (BTreeSet::new(), links.begin());
        let link = async {
            linked = links.link_filled(fill.names(), digest, filled.written()).await;
        };
        let stored = match size {
            Some(size) => compose::run(&self.fills, key, filled, size, link).await,
            None => commit::run(&self.fills, key, filled, link).await.map_err(Uncommitted::Other),
        };
        if stored.is_ok() {
            let late = &fill.names() - &linked;
            links.blob_filled(&linked, late, (digest, filled.written()), began).await;
            // New requests find the blob in the bucket. After a failed upload they still follow the download, until
            // it ends.
            self.remove(fill);
        }
        stored
    }

    /// Takes a fill off the list.
    pub(super) fn remove(&self, fill: &Arc<Fill>) {
        self.fills.remove(&self.blob, fill);
    }
}
