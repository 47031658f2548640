//! The bucket: an S3 (the embedded one of another pounce) behind a proxy that adds a distance.

use std::io::Result;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::network::HUB_ADDRESS;
use crate::peers::Words;
use crate::support::Process;
use crate::tools;
use crate::world::s3_words;

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The pieces of one direction of a connection that are under way, and the size of each in bytes: 4 MB in 5 ms.
const PIECES: usize = 32;
const PIECE: usize = 128 << 10;

/// A running S3, in the namespace of the thread that started it. Dropping the value ends it.
pub struct Bucket {
    s3: Process,
    /// Host and port of the proxy.
    address: String,
    task: JoinHandle<()>,
}

impl Bucket {
    pub async fn start() -> Self {
        let s3 = Process::over(tools::folder(2 << 30), &[]);
        let listener = TcpListener::bind((HUB_ADDRESS, 0)).await.unwrap();
        let (address, behind) = (listener.local_addr().unwrap().to_string(), s3.addr.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let behind = behind.clone();
                // A connection that breaks is over.
                tokio::spawn(async move { proxy(client, &behind).await });
            }
        });
        Self { s3, address, task }
    }

    /// The placeholders for it, and for an upstream.
    pub fn words(&self, upstream: &str) -> Words {
        let mut words = s3_words(&self.s3);
        words.insert("s3", format!("http://{}", self.address));
        words.insert("upstream", format!("http://{upstream}"));
        words
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn proxy(client: TcpStream, behind: &str) -> Result<()> {
    // The handshake.
    sleep(ROUND_TRIP).await;
    let server = TcpStream::connect(behind).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        // The client hung up: what the server would still send is of no use.
        ended = direction(from_client, to_server) => ended,
        ended = direction(from_server, to_client) => ended,
    }
}

/// Copies one direction, half a round trip late.
async fn direction(from: OwnedReadHalf, to: OwnedWriteHalf) -> Result<()> {
    let (sender, receiver) = channel(PIECES);
    let (_, written) = tokio::join!(receive(from, sender), send(receiver, to));
    written
}

async fn receive(mut from: OwnedReadHalf, sender: Sender<(Instant, Bytes)>) -> Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let piece = (Instant::now() + ROUND_TRIP / 2, buffer.split().freeze());
        if sender.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

async fn send(mut receiver: Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) -> Result<()> {
    while let Some((arrival, piece)) = receiver.recv().await {
        sleep_until(arrival).await;
        to.write_all(&piece).await?;
    }
    to.shutdown().await
}
