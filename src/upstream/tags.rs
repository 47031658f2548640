//! What an upstream lists as a repository's tags (end-8a, end-8b).

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;

use super::client::{MAX_PAGE, SMALL, Upstream, within};
use super::error::UpstreamError;
use super::links::{Pages, no_memory};
use super::session::read_limited;
use crate::oci::{RepositoryName, Tag};
use crate::telemetry::UpstreamCall;

/// The most tags of a repository, and the most pages of tags that are read, each of at most [`MAX_PAGE`] bytes: some
/// registries have fifty tags on a page.
const MAX_TAGS: usize = 100_000;
const MAX_PAGES: usize = 2000;

/// What a tag takes in a list besides its text, roughly, in bytes.
const EACH: usize = 64;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Upstream {
    /// All tags of a repository, as far as [`MAX_PAGES`] pages go. Tags that the spec does not know are left out. It
    /// goes on as long as `take` allows so many bytes more.
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
        let mut ask = self.ask(UpstreamCall::ListTags, Method::GET, name, list)?;
        let (mut tags, mut all) = (BTreeSet::new(), Pages::default());
        let pages = async {
            for _ in 0..MAX_PAGES {
                let response = self.session.send(&ask).await;
                let response = response.map_err(|error| all.failed(error))?;
                let next = all.next(&response, &ask.url)?;
                let _page = self.session.pages.acquire().await;
                let bytes = read_limited(response, MAX_PAGE).await?;
                let page: Page = serde_json::from_slice(&bytes)
                    .map_err(|error| UpstreamError::Invalid(format!("its list of tags is not JSON: {error}")))?;
                let page = page.tags.unwrap_or_default();
                let room = MAX_TAGS - tags.len();
                let texts = page.iter().take(room).map(|text| text.len() + EACH);
                if !take(texts.sum()) {
                    return Err(no_memory());
                }
                tags.extend(page.iter().take(room).filter_map(|text| text.parse::<Tag>().ok()));
                match next {
                    Some(url) if tags.len() < MAX_TAGS => ask.url = url,
                    Some(_) => break,
                    None => return Ok(tags),
                }
            }
            tracing::warn!(repository = %name, tags = tags.len(), "the upstream has more tags than are listed");
            Ok(tags)
        };
        within(SMALL, pages).await
    }
}
