//! An upstream: a registry that is far away and has limits.
//!
//! Its distance is a wait before each answer, and before the first request of a connection, as its handshake takes.
//! Other effects of a distance, such as TCP's slow start, are not there.

use std::io::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::head::Head;
use crate::content::Content;

/// What is sent at once, in bytes; small enough that 240 connections share the rate evenly.
const PIECE: usize = 64 << 10;
/// How far a clock may lag, so that a late wake-up is made good.
const LAG: Duration = Duration::from_millis(10);

/// What limits an upstream.
#[derive(Clone, Copy)]
pub struct Limits {
    pub round_trip: Duration,
    /// In bytes a second; infinite for none.
    pub connection: f64,
    pub total: f64,
}

/// 80 ms away, 25 MB/s a connection and 100 MB/s in all.
pub const FAR: Limits = Limits { round_trip: Duration::from_millis(80), connection: 25e6, total: 100e6 };
pub const UNLIMITED: Limits = Limits { round_trip: Duration::ZERO, connection: f64::INFINITY, total: f64::INFINITY };

/// What an upstream has.
pub trait Catalog: Send + Sync + 'static {
    /// The content of a path without its query, its digest, and its media type.
    fn find(&self, path: &str) -> Option<(Content, String, &'static str)>;
}

/// A running upstream, in the namespace of the thread that started it. Dropping the value ends it, and its connections
/// after their next piece.
pub struct Upstream {
    /// Host and port.
    pub address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    catalog: Arc<dyn Catalog>,
    limits: Limits,
    total: Mutex<Instant>,
    sent: AtomicU64,
}

impl Upstream {
    /// Listens on a port of this address.
    pub async fn start(host: &str, catalog: Arc<dyn Catalog>, limits: Limits) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (total, sent) = (Mutex::new(Instant::now()), AtomicU64::default());
        let shared = Arc::new(Shared { catalog, limits, total, sent });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A connection that breaks is over.
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { address, shared, task }
    }

    /// The bytes of bodies sent since the start.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        sleep(self.limits.round_trip).await;
        let (mut buffer, mut clock) = (Vec::new(), Instant::now());
        while let Some(request) = Head::read(&mut stream, &mut buffer).await? {
            sleep(self.limits.round_trip).await;
            self.answer(&mut stream, &request, &mut clock).await?;
        }
        Ok(())
    }

    async fn answer(&self, stream: &mut TcpStream, request: &Head, clock: &mut Instant) -> Result<()> {
        let path = request.word(1).split('?').next().unwrap_or_default();
        let Some((content, digest, kind)) = self.catalog.find(path) else {
            let empty = if request.word(1) == "/v2/" { "200 OK" } else { "404 Not Found" };
            return stream.write_all(format!("HTTP/1.1 {empty}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
        };
        let range = request.header("range").and_then(|range| part(range, content.len()));
        let (status, mut at, end, extra) = match range {
            Some((from, to)) => {
                let extra = format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, content.len());
                ("206 Partial Content", from, to, extra)
            }
            None => ("200 OK", 0, content.len(), String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n\
             Docker-Content-Digest: {digest}\r\n{extra}\r\n",
            end - at
        );
        stream.write_all(head.as_bytes()).await?;
        if request.word(0) == "HEAD" {
            return Ok(());
        }
        while at < end {
            let piece = content.piece(at, usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE)));
            let own = depart(clock, piece.len(), self.limits.connection);
            // Connections take turns at the rate of all, because each asks for its next piece after the last has left.
            let all = depart(&mut self.total.lock().unwrap(), piece.len(), self.limits.total);
            sleep_until(own.max(all).into()).await;
            stream.write_all(&piece).await?;
            at += piece.len() as u64;
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// `bytes=a-b` or `bytes=a-` as a half-open range within the size.
fn part(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = if to.is_empty() { size } else { to.parse::<u64>().ok()?.saturating_add(1).min(size) };
    (from < to).then_some((from, to))
}

/// When the last of so many bytes may leave.
#[expect(clippy::cast_precision_loss, reason = "a piece is small")]
pub fn depart(clock: &mut Instant, len: usize, rate: f64) -> Instant {
    let earliest = Instant::now().checked_sub(LAG).unwrap();
    *clock = (*clock).max(earliest) + Duration::from_secs_f64(len as f64 / rate);
    *clock
}
