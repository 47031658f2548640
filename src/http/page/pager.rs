//! From one page of a list to the next. There is no way to the page before, which a browser has anyway: lists are read
//! from the bucket in one direction.

use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::view::View;

/// Links to the first and to the next page of the list at `path`, of which the parameter `field` wants a part; nothing
/// where there is one page.
pub(super) fn pager(
    view: &View<'_>,
    path: &str,
    (field, wanted): (&str, &str),
    last: Option<&str>,
    next: Option<&str>,
) -> Markup {
    let link = |last: Option<&str>| {
        let mut query = Serializer::new(String::new());
        if !wanted.is_empty() {
            query.append_pair(field, wanted);
        }
        if let Some(last) = last {
            query.append_pair("last", last);
        }
        let query = query.finish();
        view.href(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
    };
    html! {
        @if last.is_some() || next.is_some() {
            nav.pager aria-label="Pages" {
                @if last.is_some() { a.button href=(link(None)) { "First page" } }
                @if next.is_some() { a.button href=(link(next)) rel="next" { "Next page" } }
            }
        }
    }
}
