//! A client of one blob: whole or in ranges, at a pace of its own, resuming at the next replica.

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::world::{Blob, NAME};
use crate::content::PIECE;
use crate::fleet::client::get;
use crate::fleet::upstream::depart;

/// The size of a range, and how many are asked for at a time.
const RANGE: u64 = 8 << 20;
const RANGES: usize = 4;
/// A request that failed is repeated after this pause, at the next replica; so often.
const PAUSE: Duration = Duration::from_millis(200);
const REPEATS: usize = 300;
/// The longest pull.
const DEADLINE: Duration = Duration::from_mins(5);

/// Clones share their replica and their progress.
#[derive(Clone)]
pub struct Client {
    /// Hosts and ports.
    pub replicas: Arc<[String]>,
    /// The index of its replica.
    pub replica: Arc<AtomicUsize>,
    pub blob: Blob,
    /// In bytes a second; infinite for none.
    pub rate: f64,
    /// The bytes that it has got so far.
    pub progress: Arc<AtomicU64>,
    /// Set from outside: it hangs up.
    pub leaves: Arc<AtomicBool>,
    pub repeated: Arc<AtomicUsize>,
}

/// What came of a pull.
#[derive(Clone, Copy, Debug)]
pub struct Pulled {
    /// From the request to the first byte, and to the last one.
    pub first_byte: f64,
    pub seconds: f64,
}

/// How far a range has come.
struct Reading {
    at: u64,
    end: u64,
    first_byte: Option<Instant>,
    /// When the last byte may be there, at the client's rate.
    clock: Instant,
}

impl Client {
    /// The manifest, and the whole blob.
    pub fn image(&self) -> JoinHandle<std::result::Result<Pulled, String>> {
        let client = self.clone();
        Self::run(async move {
            client.manifest().await?;
            client.fetch(0..client.blob.made.size, false).await
        })
    }

    /// The manifest, and the blob in ranges, as containerd asks for them.
    pub fn ranges(&self) -> JoinHandle<std::result::Result<Pulled, String>> {
        let client = self.clone();
        Self::run(async move {
            client.manifest().await?;
            let size = client.blob.made.size;
            let ranges = (0..size.div_ceil(RANGE)).map(|number| number * RANGE..size.min((number + 1) * RANGE));
            let ranges = stream::iter(ranges).map(|range| {
                let client = client.clone();
                async move { client.fetch(range, true).await }
            });
            let first: Vec<f64> = ranges.buffered(RANGES).try_collect().await?;
            Ok(first[0])
        })
    }

    /// The bytes of a range.
    pub fn part(&self, range: Range<u64>) -> JoinHandle<std::result::Result<Pulled, String>> {
        let client = self.clone();
        Self::run(async move { client.fetch(range, false).await })
    }

    /// Waits until it has got so many bytes, or for some minutes; the moment.
    pub async fn until(&self, bytes: u64) -> Instant {
        let began = Instant::now();
        while self.progress.load(Ordering::Relaxed) < bytes && began.elapsed() < DEADLINE {
            sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    }

    /// Runs a pull that returns the seconds until its first byte.
    fn run(
        pull: impl Future<Output = Result<f64>> + Send + 'static,
    ) -> JoinHandle<std::result::Result<Pulled, String>> {
        tokio::spawn(async move {
            let began = Instant::now();
            let pulled =
                timeout(DEADLINE, pull).await.map_err(|_| format!("not done after {} s", DEADLINE.as_secs()))?;
            let first_byte = pulled.map_err(|error| error.to_string())?;
            Ok(Pulled { first_byte, seconds: began.elapsed().as_secs_f64() })
        })
    }

    async fn manifest(&self) -> Result<()> {
        let path = format!("/v2/{NAME}/manifests/{}", self.blob.tag());
        loop {
            let replica = self.replica.load(Ordering::Relaxed);
            let read = match get(&self.registry(), &path, None).await {
                Ok(body) => body.manifest().await,
                Err(error) => Err(error),
            };
            match read {
                Ok(_) => return Ok(()),
                Err(error) => self.failed(replica, error).await?,
            }
        }
    }

    /// Fetches a range, and goes on where an answer broke off; the seconds until its first byte.
    async fn fetch(&self, range: Range<u64>, ranged: bool) -> Result<f64> {
        let began = Instant::now();
        let mut reading = Reading { at: range.start, end: range.end, first_byte: None, clock: began };
        loop {
            let replica = self.replica.load(Ordering::Relaxed);
            // A whole blob is asked for without a range, until the answer breaks off.
            let from = (ranged || reading.at > 0).then_some(reading.at);
            match self.read(&mut reading, from).await {
                Ok(()) => break,
                Err(error) => self.failed(replica, error).await?,
            }
        }
        let first_byte = reading.first_byte.unwrap_or_else(Instant::now);
        Ok((first_byte - began).as_secs_f64())
    }

    /// Reads what one answer brings.
    async fn read(&self, reading: &mut Reading, from: Option<u64>) -> Result<()> {
        let path = format!("/v2/{NAME}/blobs/{}", self.blob.digest);
        let mut body = get(&self.registry(), &path, from).await?;
        let (mut position, mut buffer) = (body.from, vec![0; PIECE]);
        while reading.at < reading.end && !self.leaves.load(Ordering::Relaxed) {
            let read = body.read(&mut buffer).await?;
            if read == 0 || position > reading.at {
                return Err(Error::new(ErrorKind::InvalidData, "another range than asked"));
            }
            reading.first_byte.get_or_insert_with(Instant::now);
            if self.blob.made.piece(position, read) != buffer[..read] {
                return Err(Error::new(ErrorKind::InvalidData, format!("wrong bytes at {position}")));
            }
            position += read as u64;
            let new = position.min(reading.end).saturating_sub(reading.at);
            reading.at += new;
            self.progress.fetch_add(new, Ordering::Relaxed);
            if self.rate.is_finite() {
                sleep_until(depart(&mut reading.clock, read, self.rate).into()).await;
            }
        }
        Ok(())
    }

    /// Moves on to the next replica after a failure, unless the answer itself was wrong.
    async fn failed(&self, replica: usize, error: Error) -> Result<()> {
        let relaxed = Ordering::Relaxed;
        if error.kind() == ErrorKind::InvalidData || self.repeated.fetch_add(1, relaxed) >= REPEATS {
            return Err(error);
        }
        // The first of several requests that fail together moves the client on.
        let _ = self.replica.compare_exchange(replica, replica + 1, relaxed, relaxed);
        sleep(PAUSE).await;
        Ok(())
    }

    fn registry(&self) -> String {
        self.replicas[self.replica.load(Ordering::Relaxed) % self.replicas.len()].clone()
    }
}
