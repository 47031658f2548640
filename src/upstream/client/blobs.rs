//! Blobs of an upstream, whole or in part.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::handle::{HEAD_TIMEOUT, Upstream};
use crate::oci::{Digest, RepositoryName, Slice};
use crate::telemetry::UpstreamCall;
use crate::upstream::error::UpstreamError;
use crate::upstream::head_support::HeadOutcome;
use crate::upstream::response::{header, is_html, within};

/// A blob or a part of it as it comes, not verified.
pub struct BlobResponse {
    /// The size of the whole blob in bytes, as announced.
    pub size: Option<u64>,
    /// The part that comes; `None` is the whole.
    pub part: Option<Slice>,
    /// The upstream declares it as a web page.
    pub is_html: bool,
    /// The bytes. One that does not come within `proxy.fill.stalltimeout` is an error.
    pub bytes: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl Upstream {
    /// Begins to fetch a blob; returns when its headers are here. If a part is requested, its beginning comes, or, from
    /// an upstream that does not support ranges, the whole.
    ///
    /// No `If-Range` is sent: the content of a digest never changes, and the whole is verified.
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
        let mut request = self.request(UpstreamCall::GetBlob, Method::GET, name, &path)?;
        if let Some(part) = part {
            let range = format!("bytes={}-{}", part.start, part.end - 1);
            // Digits are valid in a header.
            request.headers.extend(HeaderValue::from_str(&range).map(|value| (RANGE, value)));
        }
        let response = within(self.stall_timeout, self.session.send(&request)).await?;
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
        let (pieces, stall) = (response.bytes_stream(), self.stall_timeout);
        // Not the client's own timeout, which also runs while no bytes are requested.
        let bytes = stream::try_unfold(pieces, move |mut pieces| async move {
            let next = async { pieces.next().await.transpose().map_err(UpstreamError::from) };
            let piece = within(stall, next).await?;
            Ok(piece.map(|piece| (piece, pieces)))
        });
        Ok(BlobResponse { size, part, is_html, bytes: bytes.boxed() })
    }

    /// Asks for a blob's size; `None` when the upstream does not tell.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn head_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let request = self.request(UpstreamCall::HeadBlob, Method::HEAD, name, &format!("blobs/{digest}"))?;
        let mut head = HeadOutcome::Skipped;
        if !self.blob_heads.is_refused() {
            head = match within(HEAD_TIMEOUT, self.session.send(&request)).await {
                Ok(response) if response.status().is_success() && !is_html(&response) => {
                    // Not `content_length()`, which is that of the missing body.
                    let size = header(&response, CONTENT_LENGTH.as_str());
                    if let Some(size) = size.and_then(|text| text.parse().ok()) {
                        self.blob_heads.worked();
                        return Ok(Some(size));
                    }
                    HeadOutcome::Refused
                }
                Ok(response) if self.blob_heads.works() && is_registry_404(&response) => {
                    return Err(UpstreamError::NotFound);
                }
                // public.ecr.aws demands another authorization for HEAD than its own tokens.
                Ok(_) | Err(UpstreamError::Denied { .. }) => HeadOutcome::Refused,
                // Some limit HEADs apart from the GETs of blobs.
                Err(UpstreamError::Unavailable(_) | UpstreamError::TooManyRequests { .. }) => HeadOutcome::Failed,
                Err(error) => return Err(error),
            };
        }
        let size = self.size_by_get(name, digest).await?;
        self.blob_heads.get_succeeded_after(head);
        Ok(size)
    }

    /// A blob's size from the response to a GET, whose body is dropped.
    async fn size_by_get(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let first = Some(Slice { start: 0, end: 1 });
        let blob = match self.get_blob(name, digest, first).await {
            // An empty blob has no first byte, and some upstreams do not support ranges.
            Err(UpstreamError::Invalid(_)) => self.get_blob(name, digest, None).await?,
            other => other?,
        };
        if blob.is_html {
            let message = "it sent a web page in place of a blob";
            return Err(UpstreamError::Invalid(message.into()));
        }
        Ok(blob.size)
    }

    /// Where the upstream redirects its own clients for a blob; `None` if it serves the blob itself, or redirects in a
    /// way that pounce's clients could not follow.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn blob_location(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Url>, UpstreamError> {
        let path = format!("blobs/{digest}");
        let mut request = self.request(UpstreamCall::GetBlob, Method::GET, name, &path)?;
        request.no_redirect = true;
        let response = within(self.stall_timeout, self.session.send(&request)).await?;
        if !response.status().is_redirection() {
            return Ok(None);
        }
        let location = header(&response, LOCATION.as_str());
        let url = location.and_then(|text| request.url.join(text).ok());
        if let Some(url) = &url
            && self.session.accounts.first().challenges.is_challenging(url).await
        {
            return Ok(None);
        }
        // On its own host the upstream may demand credentials again. TLS is not given up.
        Ok(url.filter(|url| {
            let secure = url.scheme() == "https" || request.url.scheme() == "http";
            let has_no_credentials = url.username().is_empty() && url.password().is_none();
            let is_web = matches!(url.scheme(), "http" | "https");
            is_web && secure && url.origin() != request.url.origin() && has_no_credentials
        }))
    }
}

/// `Content-Range: bytes 0-99/1000` (RFC 9110, section 14.4). One without the size is of no use here.
fn content_range(response: &Response) -> Option<(Slice, u64)> {
    let text = header(response, CONTENT_RANGE.as_str())?;
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
    let (end, size) = (last.checked_add(1)?, size.parse().ok()?);
    (start < end && end <= size).then_some((Slice { start, end }, size))
}

/// A response to HEAD has no body; that of a registry has the headers of its errors.
fn is_registry_404(response: &Response) -> bool {
    let media_type = header(response, CONTENT_TYPE.as_str());
    let is_json = media_type.is_some_and(|text| text.trim_start().starts_with("application/json"));
    response.status() == StatusCode::NOT_FOUND && is_json
}
