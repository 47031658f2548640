//! `/v2/_catalog`, which is distribution's

use axum::http::header;
use serde::Serialize;

use super::query::Page;
use super::{Answer, Client, Site, headers};
use crate::oci::{Error, RepositoryName};
use crate::registry::CatalogPage;

/// How many repositories a page has where the client does not say; distribution's figure.
const DEFAULT_PAGE: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    repositories: Vec<&'a str>,
}

pub(super) async fn list(site: &Site, client: &Client, page: &Page) -> Result<Answer, Error> {
    // A client that asks for more gets a page and a Link; distribution refuses it.
    let limit = page.n.unwrap_or(DEFAULT_PAGE).min(site.catalog_page);
    let shown = |name: &RepositoryName, holds| site.access.shows(&client.who, name, holds);
    let listed = if site.access.shows_any(&client.who) {
        let last = page.last.as_deref();
        site.registry.catalog.list(last, limit, shown).await?
    } else {
        // Nothing is to be seen: the bucket is not walked for it.
        CatalogPage::default()
    };
    let repositories: Vec<&str> = listed.names.iter().map(RepositoryName::as_str).collect();
    let last = repositories.last().copied();
    let next = last.filter(|_| listed.more).map(|last| {
        let path = format!("{}/v2/_catalog", site.prefix);
        headers::next_page(&path, &[("n", &limit.to_string()), ("last", last)])
    });
    // Texts always serialize.
    let body = serde_json::to_vec(&List { repositories }).unwrap_or_default();
    let mut response = headers::json(body);
    response.headers_mut().extend(next.map(|link| (header::LINK, link)));
    Ok(response.into())
}
