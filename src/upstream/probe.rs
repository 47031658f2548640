//! Fetching a URL as a redirected client does: without credentials.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::DATE;
use url::Url;

use super::error::UpstreamError;
use super::http_client::client_to;
use super::response::read_limited;

/// How long the request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// The response to a probe.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Its status.
    pub status: u16,
    /// The server's clock.
    pub date: Option<SystemTime>,
    /// Its body: at most 1 MiB.
    pub bytes: Bytes,
}

/// Fetches a URL, with a header such as a range.
///
/// # Errors
/// `Unavailable`: it cannot be reached; the error does not repeat the URL. `Invalid`: it is more than 1 MiB.
pub async fn probe(url: &Url, header: Option<(&str, &str)>) -> Result<Probed, UpstreamError> {
    let client = client_to(url).timeout(TIMEOUT).build()?;
    let request = client.get(url.clone());
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    let date = response.headers().get(DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let bytes = read_limited(response, MAX_BODY).await?;
    Ok(Probed { status, date, bytes })
}
