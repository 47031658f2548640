//! `/-/repositories/<name>`: the tags of a repository.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::layout::{document, way};
use super::view::{View, image_path, repository_path};
use super::{format, pager, response, text, times};
use crate::http::query::Query;
use crate::http::{Answer, Rejection};
use crate::oci::{Action, RepositoryName};
use crate::registry::{LastPull, RepositoryFigures, Source, Summary, TagEntry, TagLink};

/// How many tags a view has.
const PAGE: usize = 50;

/// # Errors
/// - `UNAUTHORIZED`, `DENIED`: the user may not pull from the repository.
/// - `UNAVAILABLE`: the bucket does not answer.
pub(super) async fn show(view: &View<'_>, name: &RepositoryName) -> Result<Answer, Rejection> {
    view.require(name, Action::Pull).await?;
    let query = Query::new(view.cx.query());
    let wanted = query.get("tag").unwrap_or_default().trim().to_owned();
    let last = query.get("last").filter(|last| !last.is_empty());
    let browse = &view.cx.app.registry.browse;
    let (found, figures, pulled) = tokio::join!(
        browse.tags(name, &wanted, last.as_deref(), PAGE),
        browse.figures(),
        browse.last_pull_of_repository(name)
    );
    let found = found?;
    let is_whole = wanted.is_empty() && last.is_none();
    let figures = figures.as_ref().and_then(|all| Some((all.at, *all.repositories.get(name.as_str())?)));
    let content = html! {
        (way(view, &[], &text::name(name)))
        div.heading {
            h1 { (text::name(name)) }
            (facts(figures, pulled))
        }
        section aria-labelledby="tags" {
            div.heading {
                h2 #tags { "Tags" }
                @if !(is_whole && found.entries.len() < 10) { (filter(view, name, &wanted)) }
            }
            @if found.entries.is_empty() { (empty(view, name, is_whole, found.next.is_some())) } @else {
                (table(view, name, &found.entries))
            }
            (pager::pager(view, &repository_path(name), ("tag", &wanted), last.as_deref(), found.next.as_deref()))
        }
    };
    Ok(response::html(StatusCode::OK, document(view, name.as_str(), &content)).into())
}

fn facts(figures: Option<(std::time::SystemTime, RepositoryFigures)>, pulled: LastPull) -> Markup {
    html! {
        dl.facts {
            @if let Some((at, of)) = figures {
                div { dt { "Size" } dd.num { (format::bytes(of.own.saturating_add(of.shared))) } }
                @if of.shared > 0 {
                    div { dt { "Shared with others" } dd.num { (format::bytes(of.shared)) } }
                }
                div { dt { "Measured" } dd { (times::ago(at)) } }
            }
            div { dt { "Last pull" } dd { (times::pulled(pulled)) } }
        }
    }
}

fn filter(view: &View<'_>, name: &RepositoryName, wanted: &str) -> Markup {
    html! {
        form.filter role="search" action=(view.repository(name)) {
            label.hidden for="tag" { "Search tags" }
            input #tag type="search" name="tag" value=(wanted) placeholder="Search tags" autocapitalize="none"
                autocomplete="off" spellcheck="false" maxlength="128";
        }
    }
}

fn table(view: &View<'_>, name: &RepositoryName, entries: &[TagEntry]) -> Markup {
    html! {
        table.list {
            thead {
                tr {
                    th scope="col" { "Tag" }
                    th scope="col" { "Platforms" }
                    th.end scope="col" { "Size" }
                    th scope="col" { "Digest" }
                    th scope="col" { "Origin" }
                    th scope="col" { "Updated" }
                    th scope="col" { "Last pull" }
                }
            }
            tbody {
                @for entry in entries {
                    tr {
                        th scope="row" {
                            a.row href=(view.href(image_path(name, &entry.tag))) { bdi.name { (entry.tag) } }
                        }
                        @match &entry.link {
                            Ok(link) => (cells(link)),
                            Err(cause) => td.wrong colspan="6" { "It cannot be read: " (text::text(cause)) },
                        }
                    }
                }
            }
        }
    }
}

fn cells(link: &TagLink) -> Markup {
    html! {
        @match &link.summary {
            Ok(summary) => {
                td.text data-label="Platforms" { (platforms(summary)) }
                td.end.num data-label="Size" {
                    @if let Some(size) = summary.size {
                        @if let Some(platform) = &summary.size_of {
                            span title=(format!("The image for {platform}")) { (format::bytes(size)) }
                        } @else { (format::bytes(size)) }
                    } @else { span.muted title="The image is not stored yet" { "–" } }
                }
            }
            Err(cause) => td.wrong colspan="2" { (text::text(cause)) },
        }
        td data-label="Digest" { (text::digest(&link.digest)) }
        td data-label="Origin" { (origin(&link.source)) }
        td data-label="Updated" { @if let Some(at) = link.written { (times::ago(at)) } @else { "–" } }
        td data-label="Last pull" { (times::pulled(link.pulled)) }
    }
}

fn platforms(summary: &Summary) -> Markup {
    html! {
        @if summary.platforms.is_empty() { span.muted { "–" } } @else {
            ul.chips {
                @for platform in summary.platforms.iter().take(4) { li { (text::text(platform)) } }
                @let more = summary.more_platforms + summary.platforms.len().saturating_sub(4);
                @if more > 0 {
                    li.more title=(summary.platforms.iter().skip(4).cloned().collect::<Vec<_>>().join(", ")) { "+" (more) }
                }
            }
        }
    }
}

/// Where content came from.
pub(super) fn origin(source: &Source) -> Markup {
    html! {
        @match source {
            Source::Push => "pushed",
            Source::Upstream(upstream) if upstream.is_empty() => "upstream",
            Source::Upstream(upstream) => span title=(upstream) { (text::text(host(upstream))) },
        }
    }
}

fn host(upstream: &str) -> &str {
    let rest = upstream.split_once("://").map_or(upstream, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn empty(view: &View<'_>, name: &RepositoryName, is_whole: bool, has_more: bool) -> Markup {
    html! {
        div.empty {
            @if has_more {
                p.strong { "None of the tags that were looked through has this in its name." }
            } @else if is_whole {
                p.strong { "No tag is stored here." }
                p.muted { "Tags appear when they are pushed, or pulled through this registry." }
            } @else {
                p.strong { "There is no such tag." }
                p.muted { a href=(view.repository(name)) { "All tags" } }
            }
        }
    }
}
