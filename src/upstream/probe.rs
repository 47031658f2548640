//! A URL as a client sees it that was redirected there: without credentials.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::DATE;
use url::Url;

use super::error::UpstreamError;
use super::session::{client_to, read_limited};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read, in bytes.
const MOST: usize = 1 << 20;

/// What was found there.
#[derive(Clone, Debug)]
pub struct Visited {
    /// The status of the answer.
    pub status: u16,
    /// The clock of who answered.
    pub date: Option<SystemTime>,
    /// What came: at most 1 MiB.
    pub bytes: Bytes,
}

/// Fetches what is at a URL, with a header: so many bytes of it, say.
///
/// # Errors
/// `Unavailable`: it cannot be reached; the URL itself is not repeated. `Invalid`: it is more than 1 MiB.
pub async fn visit(url: &Url, header: Option<(&str, &str)>) -> Result<Visited, UpstreamError> {
    let client = client_to(url).timeout(PATIENCE).build()?;
    let request = client.get(url.clone());
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    let date = response.headers().get(DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let bytes = read_limited(response, MOST).await?;
    Ok(Visited { status, date, bytes })
}
