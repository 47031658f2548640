//! `/`: the repositories.

use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::{StreamExt, stream};
use maud::{Markup, html};

use super::layout::document;
use super::view::View;
use super::{format, health, live, pager, response, text, times};
use crate::auth::BrowserLogin;
use crate::http::live_figures::LiveFigures;
use crate::http::query::Query;
use crate::http::{Answer, Rejection};
use crate::oci::{Error, ErrorCode, RepositoryName};
use crate::registry::{Figures, LastPull, RepositoryList};

/// How many repositories a view has.
const PAGE: usize = 50;
/// Of how many the tags are counted at once, where no survey did.
const PARALLEL: usize = 16;

/// A repository in the list.
struct Row {
    name: RepositoryName,
    /// How many tags it has: `1,000+`.
    tags: Option<String>,
    size: Option<u64>,
    pulled: LastPull,
}

/// # Errors
/// - `UNAUTHORIZED`: nothing is shown without a login.
/// - `UNAVAILABLE`: the bucket does not answer.
pub(super) async fn show(view: &View<'_>) -> Result<Answer, Rejection> {
    let app = view.cx.app;
    if view.login() == BrowserLogin::Password && view.identity.user().is_none() && !app.access().admits_anonymous() {
        return Err(Error::new(ErrorCode::Unauthorized, "log in first").into());
    }
    let query = Query::new(view.cx.query());
    // Names have no capital letters.
    let wanted = query.get("q").unwrap_or_default().trim().to_ascii_lowercase();
    let last = query.get("last").filter(|last| !last.is_empty());
    let browse = &app.registry.browse;
    let shown = |name: &RepositoryName, holds: Option<bool>| view.shows(name, holds);
    let found = browse.repositories(&wanted, last.as_deref(), PAGE, shown).await?;
    let figures = browse.figures().await;
    let rows = stream::iter(found.names.clone()).map(|name| row(view, name, figures.as_deref())).buffered(PARALLEL);
    let rows: Vec<Row> = rows.collect().await;
    let live = (wanted.is_empty() && last.is_none()).then(|| LiveFigures::gather(&app.registry, &app.metrics));
    let content = html! {
        @if let Some(live) = &live { (live::section(view, live)) }
        section aria-labelledby="title" {
            div.heading {
                h1 #title { @if wanted.is_empty() { "Repositories" } @else { "Repositories with “" (text::text(&wanted)) "”" } }
                @if !rows.is_empty() { p.muted.num { (shown_of(view, &found, &wanted, last.is_some())) } }
            }
            @if rows.is_empty() { (empty(view, &wanted, last.is_some(), &found)) } @else {
                (table(view, &rows))
                @let next = found.names.last().filter(|_| found.more);
                (pager::pager(view, "/", ("q", &wanted), last.as_deref(), next.map(RepositoryName::as_str)))
                (notes(view, figures.as_ref(), &found))
            }
        }
        @if let Some(live) = &live { (health::section(view, live)) }
    };
    Ok(response::html(StatusCode::OK, document(view, "Repositories", &content)).into())
}

async fn row(view: &View<'_>, name: RepositoryName, figures: Option<&Figures>) -> Row {
    let browse = &view.cx.app.registry.browse;
    let pulled = browse.last_pull_of_repository(&name).await;
    if let Some(of) = figures.and_then(|figures| figures.repositories.get(name.as_str())) {
        let size = of.own.saturating_add(of.shared);
        return Row { name, tags: Some(format::count(of.tags)), size: Some(size), pulled };
    }
    // It came after the survey, or there was none.
    let tags = browse.count_tags(&name).await.ok();
    let tags = tags.map(|tags| tags.map_or_else(|| "1,000+".to_owned(), |tags| format::count(tags as u64)));
    Row { name, tags, size: None, pulled }
}

fn table(view: &View<'_>, rows: &[Row]) -> Markup {
    let has_sizes = rows.iter().any(|row| row.size.is_some());
    html! {
        table.list {
            thead {
                tr {
                    th scope="col" { "Name" }
                    th.end scope="col" { "Tags" }
                    @if has_sizes { th.end scope="col" { "Size" } }
                    th scope="col" { "Last pull" }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" { a.row href=(view.repository(&row.name)) { (text::name(&row.name)) } }
                        td.end.num data-label="Tags" { (row.tags.as_deref().unwrap_or("–")) }
                        @if has_sizes {
                            td.end.num data-label="Size" {
                                @if let Some(size) = row.size { (format::bytes(size)) } @else { "–" }
                            }
                        }
                        td data-label="Last pull" { (times::pulled(row.pulled)) }
                    }
                }
            }
        }
    }
}

/// How many there are, for a user that may know.
fn shown_of(view: &View<'_>, found: &RepositoryList, wanted: &str, is_behind: bool) -> String {
    let (number, known) = (found.names.len() as u64, format::count(found.known as u64));
    if found.more || is_behind {
        let of_all = view.sees_all() && wanted.is_empty() && !found.is_partial;
        return if of_all { format!("{number} of {known}") } else { format!("{number} at a time") };
    }
    if wanted.is_empty() {
        format::plural(number, "repository", "repositories")
    } else {
        format::plural(number, "match", "matches")
    }
}

fn notes(view: &View<'_>, figures: Option<&Arc<Figures>>, found: &RepositoryList) -> Markup {
    html! {
        div.notes {
            @if found.is_partial {
                p {
                    "This bucket has so many repositories that only the first " (format::count(found.known as u64))
                    " are listed. A path to another one still works: " code { (view.href("/-/repositories/")) "NAME" }
                }
            }
            @if let Some(figures) = figures {
                p {
                    "Tags and sizes are of the last garbage collection, " (times::ago(figures.at)) "."
                    @if view.sees_all() { " The bucket had " (format::bytes(figures.all.bytes)) " then." }
                    " Layers that several repositories need count for each."
                }
            } @else {
                p {
                    "Sizes of repositories are not known yet: garbage collection measures them, and none has run ("
                    code { "pounce gc" } ", or " code { "storage.maintenance.gc.enabled" } ")."
                }
            }
        }
    }
}

fn empty(view: &View<'_>, wanted: &str, is_behind: bool, found: &RepositoryList) -> Markup {
    let host = view.host();
    let registry = &view.cx.app.registry;
    let has_upstream = registry.repositories.routes().names().any(|names| names.component.is_none());
    html! {
        div.empty {
            @if is_behind {
                p { "There are no further repositories. " a href=(view.href("/")) { "Back to the first ones" } }
            } @else if !wanted.is_empty() {
                p.strong { "No repository has this in its name." }
                p.muted {
                    @if found.is_partial { "Only the first " (format::count(found.known as u64)) " were looked through. " }
                    a href=(view.href("/")) { "All repositories" }
                }
            } @else if view.login() == BrowserLogin::Token {
                p.strong { "Nothing is open here without a token." }
                p.muted { "Clients of this registry log in with tokens, which browsers do not have." }
            } @else if !view.sees_all() {
                p.strong { "There is nothing here that you may pull." }
            } @else {
                p.strong { "Nothing is here yet." }
                @if has_upstream {
                    p.muted { "What is pulled through this registry stays here:" }
                    (text::copied("A command that pulls an image", &format!("docker pull {host}/library/alpine")))
                } @else {
                    p.muted { "What is pushed to this registry is listed here:" }
                    (text::copied("A command that pushes an image", &format!("docker push {host}/my/app:v1")))
                }
            }
        }
    }
}
