//! What the cache saves, and the fills that run: those that the user may see.

use std::time::Duration;

use maud::{Markup, html};

use super::format::{bytes, count, duration, percent, plural};
use super::text;
use super::view::View;
use crate::http::live_figures::LiveFigures;
use crate::oci::RepositoryName;
use crate::registry::FillStatus;
use crate::telemetry::Savings;

/// The most fills that are shown. The others are counted.
const MAX_FILLS: usize = 20;

/// The section of the overview.
pub(super) fn section(view: &View<'_>, figures: &LiveFigures) -> Markup {
    let fills = &figures.fills.fills;
    let seen = fills.iter().filter_map(|fill| Some((fill, fill.repositories.iter().find(|name| view.may_pull(name))?)));
    let seen: Vec<_> = seen.collect();
    let waiting = if view.sees_all() { figures.fills.waiting as u64 } else { 0 };
    html! {
        section #live .live aria-labelledby="live-title" data-live=(view.href("/-/live")) {
            div.heading {
                h2 #live-title { "Now and today" }
                @if view.sees_all() { p.muted { "this replica, days by UTC" } }
            }
            @if view.sees_all() { (savings(&figures.savings, !figures.upstreams.is_empty())) }
            h3 #fills-title { "Copied from upstreams now" }
            @if seen.is_empty() && waiting == 0 {
                p.muted { "Nothing is being copied." }
            } @else {
                ul.fills aria-labelledby="fills-title" {
                    @for (fill, name) in seen.iter().take(MAX_FILLS) { (row(view, fill, name)) }
                }
                @if seen.len() > MAX_FILLS { p.muted { "And " (seen.len() - MAX_FILLS) " more." } }
                @if waiting > 0 { p.muted { (plural(waiting, "blob waits", "blobs wait")) " for one of these to end." } }
            }
        }
    }
}

fn savings(savings: &Savings, has_upstreams: bool) -> Markup {
    let Savings { today, total } = savings;
    html! {
        dl.tiles {
            @if has_upstreams {
                div {
                    dt { "Saved today" }
                    dd.num { (bytes(today.saved())) }
                    dd.note { (bytes(total.saved())) " since the start" }
                }
                div {
                    dt { "Answered from the cache" }
                    dd.num { @if today.answers > 0 { (percent(today.hits, today.answers)) } @else { "–" } }
                    dd.note { (count(today.hits)) " of " (plural(today.answers, "answer", "answers")) " today" }
                }
            }
            div {
                dt { "Sent to clients today" }
                dd.num { (bytes(today.sent)) }
                dd.note { @if has_upstreams { (bytes(today.fetched)) " came from upstreams" } @else { (bytes(total.sent)) " since the start" } }
            }
        }
    }
}

fn row(view: &View<'_>, fill: &FillStatus, name: &RepositoryName) -> Markup {
    let size = fill.size.filter(|size| *size > 0);
    let label = format!("Copied of a blob of {name}");
    html! {
        li #{ "fill-" (fill.digest.algorithm().as_str()) "-" (fill.digest.hex()) } {
            p.what {
                a href=(view.repository(name)) { (text::name(name)) }
                " " (text::digest(&fill.digest))
            }
            @if let Some(size) = size {
                progress max=(size) value=(fill.received.min(size)) aria-label=(label) { (percent(fill.received, size)) }
            } @else {
                progress aria-label=(label) {}
            }
            p.how.num {
                @if let Some(size) = size {
                    span { (percent(fill.received.min(size), size)) }
                    span { (bytes(fill.received)) " of " (bytes(size)) }
                } @else {
                    span { (bytes(fill.received)) }
                }
                span { (bytes(fill.bytes_per_second)) "/s" }
                @if let Some(left) = left(fill) { span { (duration(left)) " left" } }
                span { @if fill.readers > 0 { (plural(fill.readers as u64, "client waits", "clients wait")) } @else { "no client waits" } }
                @if fill.shared == "follower" { span { "another replica copies it" } }
            }
        }
    }
}

/// How long a fill takes from now on, if it goes on as fast.
fn left(fill: &FillStatus) -> Option<Duration> {
    let left = fill.size?.saturating_sub(fill.received);
    let seconds = left.checked_div(fill.bytes_per_second)?;
    (left > 0).then(|| Duration::from_secs(seconds.max(1)))
}
