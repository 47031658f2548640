//! Where a list goes on: the `Link` of a response (RFC 8288) whose relation is `next`.

use std::collections::HashSet;

use reqwest::Response;
use reqwest::header::LINK;
use url::Url;

use super::challenge::parameter;
use super::error::UpstreamError;

/// A `Link` that names a next page, or may name one, in a form that is none of the RFC's.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// The pages of one list, so that links that lead in a circle end.
#[derive(Debug, Default)]
pub(super) struct Pages(HashSet<Url>);

impl Pages {
    /// The page after the one at `current`, which answered with `response`. It is asked for where `current`
    /// was: behind a proxy, a registry may not know by which scheme and port it is reached.
    ///
    /// # Errors
    /// `Invalid`: the list goes on at another host, or in a way that cannot be understood. To end it here
    /// would pass a part of it for the whole.
    pub(super) fn next(
        &mut self,
        response: &Response,
        current: &Url,
    ) -> Result<Option<Url>, UpstreamError> {
        self.0.insert(current.clone());
        for value in response.headers().get_all(LINK) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let target = next_target(&text);
            let target = target
                .map_err(|Unreadable| UpstreamError::Invalid("its Link cannot be read".into()))?;
            if let Some(target) = target {
                let next = here(target, current)?;
                return Ok(Some(next).filter(|next| !self.0.contains(next)));
            }
        }
        Ok(None)
    }
}

/// The target, read with the origin of `current`.
fn here(target: &str, current: &Url) -> Result<Url, UpstreamError> {
    let next = current.join(target);
    let next = next.map_err(|error| UpstreamError::Invalid(format!("its Link: {error}")))?;
    if next.host_str() != current.host_str() {
        let host = next.host_str().unwrap_or("no host");
        let message = format!("its list goes on at {host}, which is not its own host");
        return Err(UpstreamError::Invalid(message));
    }
    let mut url = current.clone();
    url.set_query(next.query());
    // A proxy may have put the registry below a path of which the registry knows nothing.
    if !current.path().ends_with(next.path()) {
        url.set_path(next.path());
    }
    Ok(url)
}

/// The target of the first link of a header value that leads to the next page.
fn next_target(value: &str) -> Result<Option<&str>, Unreadable> {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(None);
        }
        let link = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let Some((target, after)) = link else {
            let names_next = rest.to_ascii_lowercase().contains("next");
            return if names_next {
                Err(Unreadable)
            } else {
                Ok(None)
            };
        };
        let (is_next, after) = relation(after);
        if is_next {
            return Ok(Some(target.trim()));
        }
        rest = after;
    }
}

/// Whether the parameters of a link make it the next page's, and what comes behind them. One without a
/// relation can only be that, in the answer to a request for a list.
fn relation(parameters: &str) -> (bool, &str) {
    let blank = [' ', '\t'];
    let (mut is_next, mut rest) = (None, parameters.trim_start_matches(blank));
    while let Some(after) = rest.strip_prefix(';') {
        let after = after.trim_start_matches(blank);
        let ends = after.find([' ', '\t', '=', ';', ',']);
        let (name, after) = after.split_at(ends.unwrap_or(after.len()));
        rest = after.trim_start_matches(blank);
        let mut value = String::new();
        if let Some(text) = rest.strip_prefix('=') {
            (value, rest) = parameter(text.trim_start_matches(blank), ';');
            rest = rest.trim_start_matches(blank);
        }
        // The first one counts (section 3.3).
        if name.eq_ignore_ascii_case("rel") && is_next.is_none() {
            let mut relations = value.split_ascii_whitespace();
            is_next = Some(relations.any(|it| it.eq_ignore_ascii_case("next")));
        }
    }
    let end = rest.find(',').unwrap_or(rest.len());
    (is_next.unwrap_or(true), &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_rfc() {
        for value in [
            r#"</x?a,b;c>; rel="next""#,
            "</x?a,b;c>;rel=next",
            "</x?a,b;c> ;\tREL = next",
            r#"  </x?a,b;c>; title="a, b>; rel=\"prev\""; rel="prev  NEXT""#,
            r#"</y>; rel="prev", </x?a,b;c>; rel="next""#,
            r#"</y>; title="</z>; rel=next"; rel=prev,,</x?a,b;c>; rel="next"; rel="prev""#,
            "</y>; rel=first; flag, </x?a,b;c>; flag; rel=next",
            "</x?a,b;c>",
        ] {
            assert_eq!(next_target(value), Ok(Some("/x?a,b;c")), "{value}");
        }
    }

    #[test]
    fn what_leads_nowhere_and_what_cannot_be_read() {
        for value in [
            "",
            ",",
            "</y>; rel=prev",
            r#"</y>; rel="prev"; rel="next""#,
            r#"</y>; rel="nextish""#,
            r#"</y>; rel=help; title="next""#,
            "nonsense",
        ] {
            assert_eq!(next_target(value), Ok(None), "{value}");
        }
        for value in ["/x; rel=next", "</x; rel=next", "</y>; rel=prev, next"] {
            assert_eq!(next_target(value), Err(Unreadable), "{value}");
        }
    }

    #[test]
    fn the_next_page_is_where_this_one_is() {
        let current = Url::parse("https://r.example.com/base/v2/a/tags/list?n=10").unwrap();
        for (target, expected) in [
            ("?last=x", "/base/v2/a/tags/list?last=x"),
            ("list?last=x", "/base/v2/a/tags/list?last=x"),
            ("/base/v2/a/tags/list?last=x", "/base/v2/a/tags/list?last=x"),
            ("/v2/a/tags/list?last=x", "/base/v2/a/tags/list?last=x"),
            ("/other?last=x", "/other?last=x"),
            (
                "http://R.example.com:5000/v2/a/tags/list?last=x",
                "/base/v2/a/tags/list?last=x",
            ),
        ] {
            let url = here(target, &current).unwrap();
            let expected = format!("https://r.example.com{expected}");
            assert_eq!(url.as_str(), expected, "{target}");
        }
        for target in [
            "https://evil.example.com/x",
            "//evil/x",
            "mailto:x",
            "http://",
        ] {
            assert!(here(target, &current).is_err(), "{target}");
        }
    }
}
