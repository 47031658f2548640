//! A TCP proxy that counts the bytes of the upstream and, if it has a rate, caps all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// How many seconds it may be ahead of the rate.
const BURST: f64 = 0.01;

#[derive(Clone)]
pub struct Front {
    pub url: String,
    sent: Arc<AtomicU64>,
}

/// When the next byte may leave.
type Clock = Arc<Mutex<Instant>>;

impl Front {
    /// In front of `upstream`, a host and port; with at most `rate` bytes a second.
    pub async fn start(upstream: &str, rate: Option<f64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self { url: format!("http://{}", listener.local_addr().unwrap()), sent: Arc::default() };
        let (sent, clock) = (Arc::clone(&front.sent), Clock::new(Mutex::new(Instant::now())));
        let upstream = upstream.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, sent, clock) = (upstream.clone(), Arc::clone(&sent), Arc::clone(&clock));
                tokio::spawn(async move {
                    // A broken connection is over.
                    let _ = pass(client, &upstream, rate, &sent, &clock).await;
                });
            }
        });
        front
    }

    /// Bytes sent to clients, headers included.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn pass(
    client: TcpStream,
    upstream: &str,
    rate: Option<f64>,
    sent: &AtomicU64,
    clock: &Clock,
) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = async move {
        let copied = tokio::io::copy(&mut from_client, &mut to_server).await;
        to_server.shutdown().await?;
        copied
    };
    let answering = async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from_server.read(&mut buffer).await?;
            if len == 0 {
                return to_client.shutdown().await;
            }
            if let Some(rate) = rate {
                wait(clock, len, rate).await;
            }
            to_client.write_all(&buffer[..len]).await?;
            sent.fetch_add(len as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        ended = answering => ended,
        // Half closed: the answer comes later.
        ended = asking => ended.map(|_| ()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a piece is small")]
async fn wait(clock: &Clock, len: usize, rate: f64) {
    let departure = {
        let mut next = clock.lock().await;
        let earliest = Instant::now().checked_sub(Duration::from_secs_f64(BURST)).unwrap();
        *next = (*next).max(earliest) + Duration::from_secs_f64(len as f64 / rate);
        *next
    };
    tokio::time::sleep_until(departure.into()).await;
}
