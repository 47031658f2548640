//! What a status other than success means.
//!
//! Only a registry can say that something is gone. A 404 may also come from an ingress without a backend, from a
//! bucket, or from a web site at a wrong address; such a response says nothing about content.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::api_check::names_api;
use super::challenge::Challenge;
use super::credentials::CredentialSource;
use super::error::UpstreamError;
use super::response::{header, read_limited};

/// How much of an error's body is read, in bytes, and for how long.
const MAX_BODY: usize = 64 << 10;
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How many characters of it the log shows.
const SHOWN: usize = 80;

/// Whether a HEAD with this status says nothing of what a GET would get: not every registry, and no URL that was signed
/// for GET, answers HEAD.
pub(super) fn refuses_head(status: StatusCode) -> bool {
    let asks_for_more = matches!(status.as_u16(), 401 | 407 | 408 | 429);
    status == StatusCode::NOT_IMPLEMENTED || (status.is_client_error() && !asks_for_more)
}

pub(super) fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// The error of a host that the upstream redirects to. A storage does not know which content there is, or which clients
/// may have it; another registry does.
pub(super) async fn redirected_error(response: Response) -> UpstreamError {
    let status = response.status();
    let wants_token = matches!(Challenge::of(response.headers()), Some(Challenge::Bearer { .. }));
    let names_api = names_api(&response);
    let body = ErrorResponse::read(response).await;
    let is_registry = wants_token || body.is_oci() || (names_api && !body.is_page());
    match status.as_u16() {
        404 | 410 if is_registry => UpstreamError::NotFound,
        401 | 403 if is_registry => {
            let cause = format!("{status} from the host that the upstream redirects to");
            denied(&CredentialSource::Anonymous, cause)
        }
        // An empty blob has no ranges, and what is not supported stays so. A storage's 400 may be transient.
        code @ (400 | 405 | 406 | 416 | 501) if code != 400 || is_registry => {
            UpstreamError::Invalid(format!("its storage answered {body}"))
        }
        _ => UpstreamError::Unavailable(format!("its storage answered {body}")),
    }
}

/// The error of the upstream itself, or of its token server.
pub(super) fn status_error(response: &Response, source: &CredentialSource, what: &str) -> UpstreamError {
    let status = response.status();
    match status.as_u16() {
        404 | 410 => UpstreamError::NotFound,
        401 | 403 => denied(source, format!("{status} {what}")),
        429 => UpstreamError::TooManyRequests { retry_after: retry_after(response.headers()) },
        // An HTTP request to a TLS port, or one that is not supported: another attempt would change nothing.
        400 | 405 | 406 | 416 | 501 => UpstreamError::Invalid(format!("it answered {status} {what}")),
        _ => UpstreamError::Unavailable(format!("it answered {status} {what}")),
    }
}

/// The credentials of `source`, or an anonymous request, were refused.
pub(super) fn denied(source: &CredentialSource, cause: String) -> UpstreamError {
    let described = source.describe();
    UpstreamError::Denied {
        anonymous: described.is_none(),
        credential: described.unwrap_or_else(|| "anonymous access".to_owned()),
        cause,
    }
}

/// The response of a status other than success.
pub(super) struct ErrorResponse {
    status: StatusCode,
    media_type: String,
    /// Empty if it is long or slow.
    body: Bytes,
}

impl ErrorResponse {
    pub(super) async fn read(response: Response) -> Self {
        let status = response.status();
        let media_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.to_owned();
        let body = tokio::time::timeout(READ_TIMEOUT, read_limited(response, MAX_BODY)).await;
        Self { status, media_type, body: body.ok().and_then(Result::ok).unwrap_or_default() }
    }

    /// Whether it is a registry's (spec, "Error Codes"): JSON with `errors`, each with a `code`.
    pub(super) fn is_oci(&self) -> bool {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "errors")]
            _errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "code")]
            _code: String,
        }
        // serde also reads a struct from an array.
        let is_object = self.body.trim_ascii_start().first() == Some(&b'{');
        is_object && serde_json::from_slice::<Body>(&self.body).is_ok()
    }

    /// A web page, or the XML of a bucket.
    pub(super) fn is_page(&self) -> bool {
        let media_type = self.media_type.to_ascii_lowercase();
        let markup = media_type.contains("html") || media_type.contains("xml");
        markup || self.body.trim_ascii_start().first() == Some(&b'<')
    }
}

impl fmt::Display for ErrorResponse {
    /// Status, type and first words, without control characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = |text: &str| {
            let text: String = text
                .split(|c: char| c.is_whitespace() || c.is_control())
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ");
            text.chars().take(SHOWN).collect::<String>()
        };
        write!(f, "{}", self.status)?;
        if !self.media_type.is_empty() {
            write!(f, ", {}", printable(&self.media_type))?;
        }
        match printable(&String::from_utf8_lossy(&self.body)) {
            empty if empty.is_empty() => write!(f, ", with no text"),
            words => write!(f, ": {words}"),
        }
    }
}

/// `Retry-After` in either form (RFC 9110, section 10.2.3); at most an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()?,
    };
    Some(after.min(Duration::from_hours(1)))
}
