//! Blobs of an upstream, whole or in part.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::client::{Upstream, header, within};
use super::error::UpstreamError;
use crate::oci::{Digest, RepositoryName, Slice};
use crate::telemetry::UpstreamCall;

/// A blob or a part of it as it comes, not verified.
pub struct BlobResponse {
    /// The size of the whole blob in bytes, as announced.
    pub size: Option<u64>,
    /// The part that comes; `None` is the whole.
    pub part: Option<Slice>,
    /// The upstream says that this is a web page.
    pub is_html: bool,
    /// The bytes. One that does not come within `proxy.fill.stalltimeout` is an error.
    pub bytes: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl Upstream {
    /// Begins to fetch a blob; returns when its headers are here. Of a part that was asked for, the beginning comes,
    /// or, from an upstream that knows no ranges, the whole.
    ///
    /// No `If-Range` goes along: what a digest names never changes, and the whole is verified.
    ///
    /// # Errors
    /// See [`UpstreamError`]; `Invalid` too if the upstream refuses ranges, or sends another one.
    pub async fn get_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        part: Option<Slice>,
    ) -> Result<BlobResponse, UpstreamError> {
        let path = format!("blobs/{digest}");
        let mut ask = self.ask(UpstreamCall::GetBlob, Method::GET, name, &path)?;
        if let Some(part) = part {
            let range = format!("bytes={}-{}", part.start, part.end - 1);
            // Digits are valid.
            ask.headers.extend(HeaderValue::from_str(&range).map(|value| (RANGE, value)));
        }
        let response = within(self.stall, self.session.send(&ask)).await?;
        let (size, part) = match (response.status(), part) {
            (StatusCode::PARTIAL_CONTENT, Some(asked)) => {
                let (slice, size) = content_range(&response)
                    .filter(|(slice, _)| slice.start == asked.start && slice.end <= asked.end)
                    .ok_or_else(|| UpstreamError::Invalid("it sent another range than was asked for".into()))?;
                (Some(size), Some(slice))
            }
            (StatusCode::PARTIAL_CONTENT, None) => {
                let message = "it sent a range that was not asked for";
                return Err(UpstreamError::Invalid(message.into()));
            }
            _ => (response.content_length(), None),
        };
        let is_html = is_html(&response);
        let (pieces, stall) = (response.bytes_stream(), self.stall);
        // Not the client's own timeout, which also counts the time in which nobody asks for more.
        let bytes = stream::try_unfold(pieces, move |mut pieces| async move {
            let next = async { pieces.next().await.transpose().map_err(UpstreamError::from) };
            let piece = within(stall, next).await?;
            Ok(piece.map(|piece| (piece, pieces)))
        });
        Ok(BlobResponse { size, part, is_html, bytes: bytes.boxed() })
    }

    /// A blob's size, of an upstream that answers no HEAD for it. What comes of the blob is dropped.
    pub(super) async fn size_by_get(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, UpstreamError> {
        let first = Some(Slice { start: 0, end: 1 });
        let blob = match self.get_blob(name, digest, first).await {
            // An empty blob has no first byte, and some upstreams know no ranges.
            Err(UpstreamError::Invalid(_)) => self.get_blob(name, digest, None).await?,
            other => other?,
        };
        if blob.is_html {
            let message = "it sent a web page in place of a blob";
            return Err(UpstreamError::Invalid(message.into()));
        }
        Ok(blob.size)
    }

    /// Where the upstream sends its own clients for a blob; `None` if it serves the blob itself, or in a way that
    /// pounce's clients could not follow.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn blob_location(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Url>, UpstreamError> {
        let path = format!("blobs/{digest}");
        let mut ask = self.ask(UpstreamCall::GetBlob, Method::GET, name, &path)?;
        ask.stays = true;
        let response = within(self.stall, self.session.send(&ask)).await?;
        if !response.status().is_redirection() {
            return Ok(None);
        }
        let location = header(&response, LOCATION.as_str());
        let url = location.and_then(|text| ask.url.join(text).ok());
        if let Some(url) = &url
            && self.session.demands.is_known_elsewhere(url).await
        {
            return Ok(None);
        }
        // On its own host it may ask for credentials again; and TLS is not given up.
        Ok(url.filter(|url| {
            let secure = url.scheme() == "https" || ask.url.scheme() == "http";
            let has_no_credentials = url.username().is_empty() && url.password().is_none();
            let is_web = matches!(url.scheme(), "http" | "https");
            is_web && secure && url.origin() != ask.url.origin() && has_no_credentials
        }))
    }
}

/// `Content-Range: bytes 0-99/1000` (RFC 9110, section 14.4). One that does not tell the size is of no use here.
fn content_range(response: &Response) -> Option<(Slice, u64)> {
    let text = header(response, CONTENT_RANGE.as_str())?;
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
    let (end, size) = (last.checked_add(1)?, size.parse().ok()?);
    (start < end && end <= size).then_some((Slice { start, end }, size))
}

/// Whether an answer is a web page: a login, or that of something in front of the upstream.
pub(super) fn is_html(response: &Response) -> bool {
    header(response, CONTENT_TYPE.as_str())
        .is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("text/html"))
}
