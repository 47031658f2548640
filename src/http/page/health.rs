//! How the bucket and the upstreams answer, as far as it is known: nothing is asked for a view. Why something fails is
//! for the log, because addresses may stand there.

use maud::{Markup, html};

use super::format::count;
use super::times::ago;
use super::view::View;
use crate::http::live_figures::{Answering, LiveFigures};
use crate::telemetry::{LastAnswer, RateLimit};

/// The section of the overview: the upstreams from which the user may pull something.
pub(super) fn section(view: &View<'_>, figures: &LiveFigures) -> Markup {
    let seen = figures.upstreams.iter().filter(|it| view.may_pull_from(it.component.as_deref()));
    let seen: Vec<_> = seen.collect();
    let sees_bucket = view.sees_all();
    html! {
        section #health .health aria-labelledby="health-title" {
            @if sees_bucket || !seen.is_empty() {
                h2 #health-title { "Bucket and upstreams" }
                ul {
                    @if sees_bucket { (row("Bucket", &figures.bucket, None)) }
                    @for upstream in seen { (row(&upstream.name, &upstream.answering, upstream.rate_limit)) }
                }
            }
        }
    }
}

fn row(name: &str, answering: &Answering, rate_limit: Option<RateLimit>) -> Markup {
    let state = match (answering.failing_since, answering.last) {
        (Some(_), _) => "bad",
        (None, Some(_)) => "good",
        (None, None) => "unknown",
    };
    html! {
        li.(state) {
            p.what { bdi { (name) } }
            p.state {
                @match (answering.failing_since, answering.last) {
                    (Some(_), _) => "fails",
                    (None, Some(_)) => "answers",
                    (None, None) => "was not asked yet",
                }
            }
            p.how.num {
                @if let Some(since) = answering.failing_since { span { "first error: " (ago(since)) } }
                @if let Some(last) = answering.last { span { "last answer: " (answer(last)) } }
                @if let Some(failed) = answering.last_failure { span { "last error: " (answer(failed)) } }
                @if let Some(RateLimit { remaining, limit }) = rate_limit {
                    span {
                        (number(remaining))
                        @if let Some(limit) = limit { " of " (number(limit)) }
                        " requests left"
                    }
                }
            }
        }
    }
}

fn answer(answer: LastAnswer) -> Markup {
    html! {
        @match answer.status {
            Some(status) => { (status) " in " (count(u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX))) " ms" }
            None => "none",
        }
        ", " (ago(answer.at))
    }
}

fn number(number: i64) -> String {
    count(u64::try_from(number).unwrap_or_default())
}
