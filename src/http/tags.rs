//! `/v2/<name>/tags/list` (end-8a, end-8b)

use axum::http::header;
use serde::Serialize;

use super::query::Page;
use super::{Answer, Site, headers};
use crate::oci::{Error, RepositoryName};

#[derive(Serialize)]
struct List<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

pub(super) async fn list(site: &Site, name: &RepositoryName, page: &Page) -> Result<Answer, Error> {
    // The rest is behind a Link.
    let limit = page.n.map_or(site.tags_page, |n| n.min(site.tags_page));
    let listed = site.registry.tags.list(name, page.last.as_deref(), limit).await?;
    let tags: Vec<&str> = listed.tags.iter().map(crate::oci::Tag::as_str).collect();
    let last = tags.last().copied();
    let next = last.filter(|_| listed.more).map(|last| {
        let path = format!("{}/v2/{name}/tags/list", site.prefix);
        headers::next_page(&path, &[("n", &limit.to_string()), ("last", last)])
    });
    // Texts always serialize.
    let body = serde_json::to_vec(&List { name: name.as_str(), tags }).unwrap_or_default();
    let mut response = headers::json(body);
    response.headers_mut().extend(next.map(|link| (header::LINK, link)));
    headers::warn_of_list(response.headers_mut(), "tags", listed.stale);
    Ok(response.into())
}
