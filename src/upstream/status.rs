//! What an upstream's answer other than success means.
//!
//! Only a registry can say that something is gone. A 404 may also come from an ingress without a backend, from a
//! bucket, or from a web site at a wrong address; such an answer says nothing about content.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::Challenge;
use super::client::header;
use super::credentials::Source;
use super::error::UpstreamError;
use super::session::{Ask, Hop, Session, read_limited};
use crate::telemetry::UpstreamCall;

/// How much of a refusal is read, in bytes, and for how long.
const MAX_REFUSAL: usize = 64 << 10;
const READ: Duration = Duration::from_secs(5);
/// How many characters of a refusal the log shows.
const SHOWN: usize = 80;
/// How long the upstream is known to answer `/v2/` as a registry does, and not to. A yes counts for the requests of a
/// moment only: what stands in front of a registry may answer in its place at any time.
const YES_LIFE: Duration = Duration::from_secs(2);
const NO_LIFE: Duration = Duration::from_mins(1);
/// What a registry calls itself in its answers (distribution, "API Version Check").
const API_VERSION: &str = "docker-distribution-api-version";

/// Whether the upstream answered `/v2/` as a registry does, and when it was asked.
#[derive(Debug, Default)]
pub(super) struct Greeted(Mutex<Option<(Instant, bool)>>);

impl Session {
    /// The response, if it is an answer to what was asked.
    pub(super) async fn judge(&self, response: Response, ask: &Ask, hop: &Hop) -> Result<Response, UpstreamError> {
        let status = response.status();
        let is_answer = status.is_success()
            || (ask.stays && status.is_redirection())
            || (ask.method == Method::HEAD && refuses_head(status));
        if is_answer {
            Ok(response)
        } else if !hop.is_home && status != StatusCode::TOO_MANY_REQUESTS {
            Err(of_elsewhere(response).await)
        } else if is_missing(status) {
            Err(self.of_missing(response, ask).await)
        } else {
            Err(describe_status(&response, &self.credentials, "for content"))
        }
    }

    /// What the upstream's own 404 means.
    async fn of_missing(&self, response: Response, ask: &Ask) -> UpstreamError {
        let names_itself = names_itself(&response);
        let refusal = Refusal::read(response).await;
        // A page is never a registry's, whatever stands in front of it adds to its headers.
        let may_be = !refusal.is_page();
        let is_greeting = ask.call == UpstreamCall::Support;
        if refusal.is_oci() || (may_be && names_itself) || (may_be && !is_greeting && self.is_registry().await) {
            return UpstreamError::NotFound;
        }
        UpstreamError::Unrecognized(refusal.to_string())
    }

    /// Whether the upstream answers `/v2/` as a registry does, now or a moment ago: by the name of its API.
    async fn is_registry(&self) -> bool {
        let mut greeted = self.greeted.0.lock().await;
        if let Some((when, is)) = *greeted
            && when.elapsed() < if is { YES_LIFE } else { NO_LIFE }
        {
            return is;
        }
        let url = format!("{}/v2/", self.base().as_str().trim_end_matches('/'));
        self.metrics.upstream(UpstreamCall::Support);
        let response = self.http.get(url).timeout(READ).send().await;
        let is = response.is_ok_and(|response| {
            let challenged =
                response.status() == StatusCode::UNAUTHORIZED && Challenge::of(response.headers()).is_some();
            (response.status().is_success() || challenged) && names_itself(&response)
        });
        *greeted = Some((Instant::now(), is));
        is
    }
}

/// A HEAD that is answered in this way says nothing about what a GET would get: not every registry, and no URL that was
/// signed for GET, answers HEAD.
fn refuses_head(status: StatusCode) -> bool {
    let asks_for_more = matches!(status.as_u16(), 401 | 407 | 408 | 429);
    status == StatusCode::NOT_IMPLEMENTED || (status.is_client_error() && !asks_for_more)
}

fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

fn names_itself(response: &Response) -> bool {
    header(response, API_VERSION).is_some_and(|text| text.trim_start().starts_with("registry/"))
}

/// What a host says that the upstream redirects to. What a storage says is not the registry's word on what there is, or
/// on which clients may have it; what another registry says is.
async fn of_elsewhere(response: Response) -> UpstreamError {
    let status = response.status();
    let wants_token = matches!(Challenge::of(response.headers()), Some(Challenge::Bearer { .. }));
    let names_itself = names_itself(&response);
    let refusal = Refusal::read(response).await;
    let is_registry = wants_token || refusal.is_oci() || (names_itself && !refusal.is_page());
    match status.as_u16() {
        404 | 410 if is_registry => UpstreamError::NotFound,
        401 | 403 if is_registry => {
            let cause = format!("{status} from the host that the upstream redirects to");
            denied(&Source::Nowhere, cause)
        }
        // An empty blob has no ranges; and what is not supported stays so. A storage's 400 may pass.
        code @ (400 | 405 | 406 | 416 | 501) if code != 400 || is_registry => {
            UpstreamError::Invalid(format!("its storage answered {refusal}"))
        }
        _ => UpstreamError::Unavailable(format!("its storage answered {refusal}")),
    }
}

/// What a status other than success means.
pub(super) fn describe_status(response: &Response, source: &Source, what: &str) -> UpstreamError {
    let status = response.status();
    match status.as_u16() {
        404 | 410 => UpstreamError::NotFound,
        401 | 403 => denied(source, format!("{status} {what}")),
        429 => UpstreamError::TooManyRequests { retry_after: retry_after(response.headers()) },
        // A plain request to a TLS port, or a request that it does not support: nothing that another attempt would
        // change.
        400 | 405 | 406 | 416 | 501 => UpstreamError::Invalid(format!("it answered {status} {what}")),
        _ => UpstreamError::Unavailable(format!("it answered {status} {what}")),
    }
}

/// What comes from `source` was refused, if anything does.
pub(super) fn denied(source: &Source, cause: String) -> UpstreamError {
    let described = source.describe();
    UpstreamError::Denied {
        anonymous: described.is_none(),
        credential: described.unwrap_or_else(|| "anonymous access".to_owned()),
        cause,
    }
}

/// What came with a status other than success.
struct Refusal {
    status: StatusCode,
    media_type: String,
    /// As far as it is short and comes soon; empty otherwise.
    body: Bytes,
}

impl Refusal {
    async fn read(response: Response) -> Self {
        let status = response.status();
        let media_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.to_owned();
        let body = tokio::time::timeout(READ, read_limited(response, MAX_REFUSAL)).await;
        Self { status, media_type, body: body.ok().and_then(Result::ok).unwrap_or_default() }
    }

    /// Whether it is a registry's (spec, "Error Codes"): JSON with `errors`, each with a `code`.
    fn is_oci(&self) -> bool {
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
        // serde takes an array for the fields of a struct, too.
        let is_object = self.body.trim_ascii_start().first() == Some(&b'{');
        is_object && serde_json::from_slice::<Body>(&self.body).is_ok()
    }

    /// A web page, or the XML of a bucket.
    fn is_page(&self) -> bool {
        let media_type = self.media_type.to_ascii_lowercase();
        let markup = media_type.contains("html") || media_type.contains("xml");
        markup || self.body.trim_ascii_start().first() == Some(&b'<')
    }
}

impl fmt::Display for Refusal {
    /// Status, type and first words, without what a terminal would obey.
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
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok()?,
    };
    Some(after.min(Duration::from_hours(1)))
}
