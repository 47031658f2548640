//! `pounce warm --fetch`: reads blobs as a client does, and drops the bytes.
//!
//! A global bucket (Tigris) keeps a copy of what is read near the region where it was read. So the clients of the
//! region in which this runs find the blobs near.

use std::io;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::OnceCell;
use url::Url;

use crate::oci::{Descriptor, Hasher, RangeRequest, RepositoryName};
use crate::registry::{BlobAccess, BlobRequest, Registry};
use crate::telemetry::causes;
use crate::upstream::{RedirectedBody, RedirectedClient, UpstreamError};

/// How many connections in a row may bring less than [`PROGRESS`]; with the pauses in between, that is a few seconds.
const ATTEMPTS: usize = 5;
/// After so many bytes, the attempts are counted anew.
const PROGRESS: u64 = 1 << 20;

/// Reads blobs where clients of the registry would get them.
pub(super) struct Fetcher {
    /// How a client on this machine reaches the pounce that serves the folder, where there is one.
    base: Url,
    /// For the bucket's host, once the first URL has named it.
    client: OnceCell<RedirectedClient>,
}

/// How much of a blob was read.
struct Fetched {
    bytes: u64,
    hasher: Hasher,
}

/// A blob from one byte on.
enum Body {
    Redirected(RedirectedBody),
    Streamed(u64, BoxStream<'static, io::Result<Bytes>>),
}

impl Fetcher {
    /// `addr` is that of the pounce that serves the folder, where there is one.
    pub(super) fn new(addr: &str) -> Result<Self, String> {
        let base = Url::parse(&format!("http://{addr}/")).map_err(|error| format!("http.addr: {addr}: {error}"))?;
        Ok(Self { base, client: OnceCell::new() })
    }

    /// Reads a blob, and tells `progress` how many bytes came. A connection that breaks is replaced by one that goes on
    /// from there.
    ///
    /// # Errors
    /// Why it cannot be read, or that its bytes are not the blob's.
    pub(super) async fn read(
        &self,
        registry: &Registry,
        (name, blob): (&RepositoryName, &Descriptor),
        progress: impl Fn(u64),
    ) -> Result<(), String> {
        let mut fetched = Fetched::new(blob);
        let (mut pauses, mut since) = (pauses(), 0);
        while let Err(cause) = self.read_on(registry, (name, blob), &mut fetched, &progress).await {
            if fetched.bytes >= since + PROGRESS {
                (pauses, since) = (self::pauses(), fetched.bytes);
            }
            let pause = pauses.next().ok_or(cause)?;
            tokio::time::sleep(pause).await;
        }
        let digest = fetched.hasher.finish();
        if fetched.bytes == blob.size() && digest == *blob.digest() {
            return Ok(());
        }
        Err(format!("other bytes came: {} of {}, and their digest is {digest}", fetched.bytes, blob.size()))
    }

    /// Reads to the end over one connection.
    async fn read_on(
        &self,
        registry: &Registry,
        (name, blob): (&RepositoryName, &Descriptor),
        fetched: &mut Fetched,
        progress: impl Fn(u64),
    ) -> Result<(), String> {
        let mut body = self.open(registry, (name, blob), fetched.bytes).await?;
        if body.start() != fetched.bytes {
            *fetched = Fetched::new(blob);
        }
        while fetched.bytes < blob.size() {
            let Some(piece) = body.next().await? else {
                return Err(format!("it ended after {} of {} bytes", fetched.bytes, blob.size()));
            };
            fetched.hasher.update(&piece);
            fetched.bytes += piece.len() as u64;
            progress(fetched.bytes);
        }
        Ok(())
    }

    /// Opens a blob from the byte `from` on.
    async fn open(
        &self,
        registry: &Registry,
        (name, blob): (&RepositoryName, &Descriptor),
        from: u64,
    ) -> Result<Body, String> {
        let range = if from == 0 { RangeRequest::Whole } else { RangeRequest::parse(&format!("bytes={from}-")) };
        // A folder that this process itself has open is behind no listener.
        let redirect = registry.embedded().is_none();
        let request = BlobRequest { name, digest: blob.digest(), range, base: self.base.as_str(), redirect };
        match registry.blobs.open(request).await.map_err(|error| causes(&error))? {
            BlobAccess::Redirect(url, _) => {
                let url = Url::parse(&url).map_err(|error| error.to_string())?;
                let client = self.client.get_or_try_init(|| async { RedirectedClient::new(&url) });
                let client = client.await.map_err(describe)?;
                client.get(&url, from).await.map(Body::Redirected).map_err(describe)
            }
            BlobAccess::Stream(stream) => {
                let start = stream.part.map_or(0, |part| part.slice.start);
                Ok(Body::Streamed(start, stream.bytes))
            }
        }
    }
}

impl Fetched {
    fn new(blob: &Descriptor) -> Self {
        Self { bytes: 0, hasher: Hasher::new(blob.digest().algorithm()) }
    }
}

impl Body {
    /// Which byte of the blob comes first.
    fn start(&self) -> u64 {
        match self {
            Self::Redirected(body) => body.start(),
            Self::Streamed(start, _) => *start,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Redirected(body) => body.next().await.map_err(describe),
            Self::Streamed(_, bytes) => bytes.next().await.transpose().map_err(|error| causes(&error)),
        }
    }
}

/// The cause alone: the bucket is no upstream.
fn describe(error: UpstreamError) -> String {
    match error {
        UpstreamError::Unavailable(cause) => cause,
        error => causes(&error),
    }
}

fn pauses() -> <ExponentialBuilder as BackoffBuilder>::Backoff {
    let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200));
    pauses.with_max_delay(Duration::from_secs(4)).with_max_times(ATTEMPTS - 1).with_jitter().build()
}
