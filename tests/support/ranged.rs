//! Clients that pull one blob in ranges, several at a time: containerd, SOCI, Ollama.

use std::ops::Range;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

/// How long a request may take: a hang becomes an error.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a client asks for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `bytes=a-`, of which it reads one chunk and closes: containerd.
    Open,
    /// `bytes=a-b`: SOCI and Ollama.
    Closed,
}

/// How a client cuts a blob.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many chunks it fetches at a time.
    pub parallel: usize,
    /// Bytes of a chunk; the last one may be shorter.
    pub chunk: usize,
    pub form: Form,
}

impl Shape {
    pub const fn open(parallel: usize, chunk: usize) -> Self {
        Self { parallel, chunk, form: Form::Open }
    }

    pub const fn closed(parallel: usize, chunk: usize) -> Self {
        Self { parallel, chunk, form: Form::Closed }
    }

    /// The chunks of a blob of `size` bytes, in order.
    pub fn chunks(self, size: usize) -> Vec<Range<usize>> {
        let starts = (0..size).step_by(self.chunk);
        starts.map(|start| start..size.min(start + self.chunk)).collect()
    }
}

impl Form {
    /// The `Range` header for a chunk.
    pub fn header(self, chunk: &Range<usize>) -> String {
        match self {
            Self::Open => format!("bytes={}-", chunk.start),
            Self::Closed => format!("bytes={}-{}", chunk.start, chunk.end - 1),
        }
    }
}

/// Fetches chunks, some at a time, and puts them together to a blob of `size` bytes.
pub(crate) async fn assemble<E, F>(
    size: usize,
    parallel: usize,
    chunks: Vec<Range<usize>>,
    fetch: impl Fn(Range<usize>) -> F,
) -> Result<Vec<u8>, E>
where
    F: Future<Output = Result<Vec<u8>, E>>,
{
    let fetches = chunks.into_iter().map(|chunk| {
        let fetched = fetch(chunk.clone());
        async move { Ok((chunk, fetched.await?)) }
    });
    let mut whole = vec![0; size];
    let mut pieces = stream::iter(fetches).buffer_unordered(parallel);
    while let Some((chunk, bytes)) = pieces.try_next().await? {
        whole[chunk].copy_from_slice(&bytes);
    }
    Ok(whole)
}

/// A client of one blob that follows redirects, with its range, as all clients do.
#[derive(Clone)]
pub struct RangedClient {
    http: reqwest::Client,
    url: String,
    size: usize,
}

impl RangedClient {
    /// For the blob of `size` bytes at this URL.
    pub fn new(url: String, size: usize) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self { http, url, size }
    }

    /// The blob, not verified; or why a chunk did not come.
    pub(crate) async fn pull(&self, shape: Shape) -> Result<Vec<u8>, String> {
        self.pull_chunks(shape, shape.chunks(self.size)).await
    }

    /// The blob in these chunks, in this order.
    pub(crate) async fn pull_chunks(&self, shape: Shape, chunks: Vec<Range<usize>>) -> Result<Vec<u8>, String> {
        assemble(self.size, shape.parallel, chunks, |chunk| self.chunk(chunk, shape.form)).await
    }

    /// The blob by one GET without a range; an error if it did not come whole.
    pub(crate) async fn pull_whole(&self) -> Result<Vec<u8>, String> {
        let response = self.http.get(&self.url).send().await.map_err(describe)?;
        let response = response.error_for_status().map_err(describe)?;
        Ok(response.bytes().await.map_err(describe)?.into())
    }

    /// The answer to a request with this range, whose body nothing reads yet.
    pub(crate) async fn open(&self, range: &str) -> Result<reqwest::Response, String> {
        self.http.get(&self.url).header("range", range).send().await.map_err(describe)
    }

    /// The bytes of one chunk. A chunk that came has its length, and the answer said where it lies.
    pub(crate) async fn chunk(&self, chunk: Range<usize>, form: Form) -> Result<Vec<u8>, String> {
        let response = self.open(&form.header(&chunk)).await?;
        match response.status().as_u16() {
            206 => {
                let last = if form == Form::Open { self.size } else { chunk.end } - 1;
                let said = response.headers()["content-range"].to_str().unwrap();
                assert!(said.starts_with(&format!("bytes {}-{last}/", chunk.start)), "{said} for {chunk:?}");
            }
            200 => {}
            status => return Err(format!("{status}: {}", response.text().await.unwrap_or_default())),
        }
        read_chunk(response, &chunk).await.map_err(describe)?.ok_or_else(|| format!("{chunk:?} ended early"))
    }
}

/// Reads a chunk from a 206 that begins with it, or from a 200, where the range was ignored and the bytes before the
/// chunk come, too. Then it closes the connection, if more is to come. `None` if the body ends before the chunk does.
pub(crate) async fn read_chunk(
    mut response: reqwest::Response,
    chunk: &Range<usize>,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut skip = if response.status() == 200 { chunk.start } else { 0 };
    let mut bytes = Vec::with_capacity(chunk.len());
    while bytes.len() < chunk.len() {
        let Some(piece) = response.chunk().await? else { return Ok(None) };
        let before = skip.min(piece.len());
        skip -= before;
        let missing = chunk.len() - bytes.len();
        bytes.extend(piece[before..].iter().take(missing));
    }
    Ok(Some(bytes))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn describe(error: reqwest::Error) -> String {
    assert!(!error.is_timeout(), "a request hangs: {error:?}");
    format!("{error:?}")
}
