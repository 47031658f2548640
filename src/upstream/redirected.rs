//! Reading a URL that clients are redirected to, of any length, as they do: without credentials.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::error::UpstreamError;
use super::http_client::client_to;
use super::response::header;
use crate::oci::ChunkRange;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may send nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of such URLs, which keeps its connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedirectedClient(Client);

/// A body on its way.
#[derive(Debug)]
pub struct RedirectedBody {
    response: Response,
    start: u64,
}

impl RedirectedClient {
    /// For URLs of this one's host.
    ///
    /// # Errors
    /// `Unavailable`: the certificates of this machine cannot be read.
    pub fn new(url: &Url) -> Result<Self, UpstreamError> {
        let client = client_to(url)
            .user_agent(concat!("pounce/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STALL_TIMEOUT);
        Ok(Self(client.build()?))
    }

    /// Requests the content from the byte `from` on, by a range unless that is 0. A server without ranges sends the
    /// whole: see [`RedirectedBody::start`].
    ///
    /// # Errors
    /// `Unavailable`: it cannot be reached, or does not send it. The error does not repeat the URL, which may carry a
    /// signature.
    pub async fn get(&self, url: &Url, from: u64) -> Result<RedirectedBody, UpstreamError> {
        let mut request = self.0.get(url.clone());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await?;
        let part = header(&response, CONTENT_RANGE.as_str()).and_then(ChunkRange::parse);
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if part.is_some_and(|part| part.start == from) => from,
            status => return Err(UpstreamError::Unavailable(format!("it answered {status}"))),
        };
        Ok(RedirectedBody { response, start })
    }
}

impl RedirectedBody {
    /// Which byte of the content comes first: the one that was asked for, or 0.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `Unavailable`: the connection broke, or was silent for 30 s.
    pub async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        Ok(self.response.chunk().await?)
    }
}
