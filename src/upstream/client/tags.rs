//! The tags of a repository at an upstream (end-8a, end-8b).

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;

use super::handle::{MAX_PAGE, SMALL_TIMEOUT, Upstream};
use crate::oci::{RepositoryName, Tag};
use crate::telemetry::UpstreamCall;
use crate::upstream::error::UpstreamError;
use crate::upstream::pagination::{Pages, no_memory};
use crate::upstream::response::{read_limited, within};

/// The most tags of a repository, and the most pages of tags that are read, each of at most [`MAX_PAGE`] bytes: some
/// registries have fifty tags on a page.
const MAX_TAGS: usize = 100_000;
const MAX_PAGES: usize = 2000;

/// The memory that a tag takes in a list besides its text, roughly, in bytes.
const TAG_OVERHEAD: usize = 64;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Upstream {
    /// All tags of a repository, as far as [`MAX_PAGES`] pages go. Tags that the spec does not allow are left out.
    /// Pages are read as long as `take` allows so many bytes more.
    ///
    /// # Errors
    /// See [`UpstreamError`]; `Invalid` too for a list that goes on at another host, and `Unavailable` where `take`
    /// does not allow a page.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        take: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<BTreeSet<Tag>, UpstreamError> {
        let list = "tags/list?n=1000";
        let mut request = self.request(UpstreamCall::ListTags, Method::GET, name, list)?;
        let (mut tags, mut all) = (BTreeSet::new(), Pages::default());
        let pages = async {
            for _ in 0..MAX_PAGES {
                let response = self.session.send(&request).await;
                let response = response.map_err(|error| all.failed(error))?;
                let next = all.next(&response, &request.url)?;
                let _permit = self.session.pages.acquire().await;
                let bytes = read_limited(response, MAX_PAGE).await?;
                let page: Page = serde_json::from_slice(&bytes)
                    .map_err(|error| UpstreamError::Invalid(format!("its list of tags is not JSON: {error}")))?;
                let page = page.tags.unwrap_or_default();
                let left = MAX_TAGS - tags.len();
                let texts = page.iter().take(left).map(|text| text.len() + TAG_OVERHEAD);
                if !take(texts.sum()) {
                    return Err(no_memory());
                }
                tags.extend(page.iter().take(left).filter_map(|text| text.parse::<Tag>().ok()));
                match next {
                    Some(url) if tags.len() < MAX_TAGS => request.url = url,
                    Some(_) => break,
                    None => return Ok(tags),
                }
            }
            tracing::warn!(repository = %name, tags = tags.len(), "the upstream has more tags than are listed");
            Ok(tags)
        };
        within(SMALL_TIMEOUT, pages).await
    }
}
