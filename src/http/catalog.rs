//! `/v2/_catalog`, distribution's list of repositories.

use axum::http::header;
use serde::Serialize;

use super::query::Page;
use super::{Answer, AppState, headers};
use crate::auth::Identity;
use crate::oci::{Error, RepositoryName};
use crate::registry::CatalogPage;

/// The size of a page where the client names none, as in distribution.
const DEFAULT_PAGE: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    repositories: Vec<&'a str>,
}

pub(super) async fn list(app: &AppState, identity: &Identity, page: &Page) -> Result<Answer, Error> {
    // A client that asks for more gets a page and a Link; distribution refuses it.
    let limit = page.n.unwrap_or(DEFAULT_PAGE).min(app.config.catalog.maxentries);
    let shown = |name: &RepositoryName, holds| app.access().may_list(identity, name, holds);
    let listed = if app.access().may_list_any(identity) {
        let last = page.last.as_deref();
        app.registry.catalog.list(last, limit, shown).await?
    } else {
        // The client may see no repository, so the bucket is not listed.
        CatalogPage::default()
    };
    let repositories: Vec<&str> = listed.names.iter().map(RepositoryName::as_str).collect();
    let last = repositories.last().copied();
    let next = last.filter(|_| listed.more).map(|last| {
        let path = format!("{}/v2/_catalog", app.prefix);
        headers::next_page(&path, &[("n", &limit.to_string()), ("last", last)])
    });
    let mut response = headers::serialized(&List { repositories });
    response.headers_mut().extend(next.map(|link| (header::LINK, link)));
    Ok(response.into())
}
