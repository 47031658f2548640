//! The referrers of a manifest at an upstream (end-12).

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::handle::{MAX_PAGE, SMALL_TIMEOUT, Upstream};
use crate::oci::{Digest, MediaType, Referrer, Referrers, RepositoryName};
use crate::telemetry::UpstreamCall;
use crate::upstream::error::UpstreamError;
use crate::upstream::pagination::{Pages, no_memory};
use crate::upstream::response::{header, read_limited, within};

/// The most pages that are read, each of at most [`MAX_PAGE`] bytes, and the most bytes of all of them.
const MAX_PAGES: usize = 1000;
const MAX_BYTES: usize = 4 * MAX_PAGE;

impl Upstream {
    /// The referrers of a digest, as far as [`MAX_PAGES`] pages go, and as long as `take` allows so many bytes more.
    ///
    /// # Errors
    /// See [`UpstreamError`]; `NotFound` from an upstream without this API, in whichever way it says so, and
    /// `Unavailable` too where `take` does not allow a page.
    pub async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        take: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<Vec<Referrer>, UpstreamError> {
        let mut request =
            self.request(UpstreamCall::ListReferrers, Method::GET, name, &format!("referrers/{subject}"))?;
        let (mut referrers, mut left, mut all) = (Vec::new(), MAX_BYTES, Pages::default());
        let pages = async {
            for _ in 0..MAX_PAGES {
                let response = self.session.send(&request).await;
                let response =
                    response.map_err(|error| if all.is_empty() { without_api(error) } else { all.failed(error) })?;
                let is_first = all.is_empty();
                let is_index = header(&response, CONTENT_TYPE.as_str())
                    .is_some_and(|text| text.trim_start().starts_with(MediaType::OCI_INDEX.as_str()));
                let next = all.next(&response, &request.url)?;
                let _permit = self.session.pages.acquire().await;
                let bytes = read_limited(response, MAX_PAGE).await?;
                // Parsed descriptors take about as much memory as their text.
                if !take(bytes.len()) {
                    return Err(no_memory());
                }
                left = left.saturating_sub(bytes.len());
                let page = Referrers::read(&bytes).ok_or_else(|| {
                    // A web page, or the response of another API.
                    if is_first && !is_index {
                        return UpstreamError::NotFound;
                    }
                    UpstreamError::Invalid("its list of referrers is not an index".into())
                })?;
                referrers.extend(page.manifests);
                match next {
                    Some(url) if left > 0 => request.url = url,
                    Some(_) => break,
                    None => return Ok(referrers),
                }
            }
            tracing::warn!(repository = %name, %subject, "the upstream has more referrers than are listed");
            Ok(referrers)
        };
        within(SMALL_TIMEOUT, pages).await
    }
}

/// The error of the first page. Registries without the API refuse its path each in their own way; one that fails, or
/// limits the rate, may have it.
fn without_api(error: UpstreamError) -> UpstreamError {
    match error {
        error @ (UpstreamError::TooManyRequests { .. } | UpstreamError::Unavailable(_)) => error,
        _ => UpstreamError::NotFound,
    }
}
