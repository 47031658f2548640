//! All nodes pull the image at once, as container engines do: three layers at a time, whole or in ranges.

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::client::{Body, get};
use super::image::{Image, NAME, TAG};
use super::network;

/// Layers at a time, as docker and containerd have it.
const LAYERS: usize = 3;
/// The size of a range, and how many of a layer are asked for at a time.
const RANGE: u64 = 8 << 20;
const RANGES: usize = 4;
/// What a read takes at most.
const BUFFER: usize = 256 << 10;
/// A node repeats a request that failed, after this pause, at the next registry. All nodes together repeat so many.
const PAUSE: Duration = Duration::from_millis(200);
const REPEATS: u64 = 1000;
/// The longest pull.
const DEADLINE: Duration = Duration::from_mins(4);

/// What every node pulls.
pub struct Pull<'a> {
    pub image: &'a Image,
    /// Hosts and ports; nodes begin at one of them each, evenly.
    pub registries: Vec<String>,
    pub ranged: bool,
    /// The bytes of layers that all nodes have got so far.
    pub progress: &'a AtomicU64,
}

/// What came of it.
pub struct Pulled {
    /// Until the last node had all.
    pub seconds: f64,
    /// Requests that failed, and were sent again.
    pub repeated: u64,
}

/// A node within its thread.
struct Node<'a> {
    pull: &'a Pull<'a>,
    /// The index of its registry.
    registry: AtomicUsize,
    repeated: &'a AtomicU64,
    /// Compares every byte with the image. The others count bytes only, because comparing costs the processor.
    compares: bool,
}

/// So many nodes pull at once, each by a thread in its namespace.
///
/// # Errors
/// The first failure of a node, in a sentence for the table.
pub fn pull(nodes: usize, pull: &Pull<'_>) -> std::result::Result<Pulled, String> {
    let (barrier, repeated) = (&Barrier::new(nodes), &AtomicU64::new(0));
    let seconds: std::result::Result<Vec<f64>, String> = thread::scope(|scope| {
        let nodes = (0..nodes).map(|number| {
            scope.spawn(move || -> std::result::Result<f64, String> {
                network::enter_node(number);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let registry = AtomicUsize::new(number % pull.registries.len());
                let node = Node { pull, registry, repeated, compares: number == 0 };
                barrier.wait();
                let began = Instant::now();
                let pulled = runtime.block_on(async { timeout(DEADLINE, node.image()).await });
                let pulled = pulled.map_err(|_| format!("not done after {} s", DEADLINE.as_secs()))?;
                pulled.map_err(|error| format!("node {}: {error}", number + 1))?;
                Ok(began.elapsed().as_secs_f64())
            })
        });
        // All threads begin before the first is joined.
        let nodes: Vec<_> = nodes.collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let seconds = seconds?.into_iter().fold(0.0, f64::max);
    Ok(Pulled { seconds, repeated: repeated.load(Ordering::Relaxed) })
}

impl Node<'_> {
    async fn image(&self) -> Result<()> {
        let manifest = get(self.registry(), &format!("/v2/{NAME}/manifests/{TAG}"), None).await?;
        let manifest: Value = serde_json::from_slice(&manifest.manifest().await?)?;
        self.blob(&manifest["config"], true).await?;
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layers = stream::iter(layers).map(|layer| self.blob(layer, !self.pull.ranged));
        layers.buffer_unordered(LAYERS).try_collect().await
    }

    async fn blob(&self, descriptor: &Value, whole: bool) -> Result<()> {
        let (digest, size) = (descriptor["digest"].as_str().unwrap_or_default(), descriptor["size"].as_u64());
        let size = size.ok_or(ErrorKind::InvalidData)?;
        if whole {
            return self.fetch(digest, 0..size, None).await;
        }
        let first = self.repeating(async || get(self.registry(), &path(digest), Some(0)).await).await?;
        if !first.partial {
            // The registry ignores ranges: containerd takes the whole from this answer, too.
            return self.fetch(digest, 0..size, Some(first)).await;
        }
        let mut first = Some(first);
        let ranges = (0..size.div_ceil(RANGE)).map(|number| number * RANGE..size.min((number + 1) * RANGE));
        let ranges = stream::iter(ranges).map(|range| self.fetch(digest, range, first.take()));
        ranges.buffer_unordered(RANGES).try_collect().await
    }

    /// Fetches a range, from an answer that began if there is one; goes on where an answer broke off.
    async fn fetch(&self, digest: &str, range: Range<u64>, mut begun: Option<Body>) -> Result<()> {
        let mut at = range.start;
        let mut buffer = vec![0; BUFFER];
        self.repeating(async || {
            // Whole blobs are asked for without a range, until one breaks off.
            let from = (self.pull.ranged || at > 0).then_some(at);
            let mut body = match begun.take() {
                Some(body) => body,
                None => get(self.registry(), &path(digest), from).await?,
            };
            let mut position = body.from;
            while at < range.end {
                let read = body.read(&mut buffer).await?;
                if read == 0 || position > at {
                    return Err(Error::new(ErrorKind::InvalidData, format!("{digest}: another range than asked")));
                }
                let new = &buffer[..read];
                position += read as u64;
                let Some(len) = position.min(range.end).checked_sub(at).filter(|len| *len > 0) else { continue };
                if self.compares {
                    let skipped = read as u64 - (position - at);
                    self.compare(digest, at, &new[index(skipped)..][..index(len)])?;
                }
                at += len;
                self.pull.progress.fetch_add(len, Ordering::Relaxed);
            }
            Ok(())
        })
        .await
    }

    fn compare(&self, digest: &str, at: u64, bytes: &[u8]) -> Result<()> {
        let blob = self.pull.image.blobs.get(digest).ok_or(ErrorKind::NotFound)?;
        let same = blob.get(index(at)..).is_some_and(|rest| rest.starts_with(bytes));
        same.then_some(()).ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("{digest}: wrong bytes at {at}")))
    }

    /// Repeats at the next registry what fails, unless the answer itself is wrong.
    async fn repeating<T>(&self, mut act: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        loop {
            let registry = self.registry.load(Ordering::Relaxed);
            match act().await {
                Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error),
                Err(_) if self.repeated.fetch_add(1, Ordering::Relaxed) < REPEATS => {
                    // The first of several requests that fail together moves the node on.
                    let (moved, relaxed) = (registry + 1, Ordering::Relaxed);
                    let _ = self.registry.compare_exchange(registry, moved, relaxed, relaxed);
                    sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    fn registry(&self) -> &str {
        let registries = &self.pull.registries;
        &registries[self.registry.load(Ordering::Relaxed) % registries.len()]
    }
}

fn path(digest: &str) -> String {
    format!("/v2/{NAME}/blobs/{digest}")
}

/// A position within a blob of the image, all of which are in memory.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap()
}
