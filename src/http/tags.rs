//! `/v2/<name>/tags/list` (end-8a, end-8b)

use axum::http::header;
use serde::Serialize;

use super::query::Page;
use super::{Answer, AppState, headers};
use crate::oci::{Error, RepositoryName};

#[derive(Serialize)]
struct List<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

pub(super) async fn list(app: &AppState, name: &RepositoryName, page: &Page) -> Result<Answer, Error> {
    let limit = page.n.unwrap_or(usize::MAX).min(app.config.tags.maxtags);
    let listed = app.registry.tags.list(name, page.last.as_deref(), limit).await?;
    let tags: Vec<&str> = listed.tags.iter().map(crate::oci::Tag::as_str).collect();
    let last = tags.last().copied();
    let next = last.filter(|_| listed.more).map(|last| {
        let path = format!("{}/v2/{name}/tags/list", app.prefix);
        headers::next_page(&path, &[("n", &limit.to_string()), ("last", last)])
    });
    let mut response = headers::serialized(&List { name: name.as_str(), tags });
    response.headers_mut().extend(next.map(|link| (header::LINK, link)));
    headers::warn_of_list(response.headers_mut(), "tags", listed.stale);
    Ok(response.into())
}
