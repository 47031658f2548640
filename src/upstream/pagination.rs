//! Pagination: the `Link` of a response (RFC 8288) whose relation is `next`.

use std::collections::HashSet;

use reqwest::Response;
use reqwest::header::LINK;
use url::Url;

use super::challenge::parameter;
use super::error::UpstreamError;

/// A `Link` that names a next page, or may name one, and is malformed.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// The pages of one list that were read, so that links in a circle end.
#[derive(Debug, Default)]
pub(super) struct Pages(HashSet<Url>);

impl Pages {
    /// The URL of the page after the one at `current`, which answered with `response`, perhaps after redirects. It has
    /// the origin of `current`: behind a proxy, a registry may not know its own scheme and port.
    ///
    /// # Errors
    /// `Invalid`: the list continues at another host, or its `Link` is malformed. To end here would present a part of
    /// the list as the whole.
    pub(super) fn next(&mut self, response: &Response, current: &Url) -> Result<Option<Url>, UpstreamError> {
        self.0.insert(current.clone());
        for value in response.headers().get_all(LINK) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let target = next_target(&text);
            let target = target.map_err(|Unreadable| UpstreamError::Invalid("its Link cannot be read".into()))?;
            if let Some(target) = target {
                let next = resolve(target, current, response.url())?;
                return Ok(Some(next).filter(|next| !self.0.contains(next)));
            }
        }
        Ok(None)
    }

    /// Whether no page came yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The error of a further page. After the first page, a refusal does not mean that there is no such list: the rest
    /// of it is missing.
    pub(super) fn failed(&self, error: UpstreamError) -> UpstreamError {
        use UpstreamError::{Denied, Invalid, NotFound, Unrecognized};
        match error {
            NotFound | Unrecognized(_) | Denied { .. } if !self.0.is_empty() => {
                Invalid(format!("its list breaks off: {error}"))
            }
            error => error,
        }
    }
}

/// The error of a list that does not fit into memory.
pub(super) fn no_memory() -> UpstreamError {
    UpstreamError::Unavailable("its list is too long for the memory that there is now".into())
}

/// The target, resolved against the resource that answered (RFC 8288, section 3.1), with the origin of `current`, which
/// was requested and may redirect to that resource.
fn resolve(target: &str, current: &Url, answered: &Url) -> Result<Url, UpstreamError> {
    let next = answered.join(target);
    let next = next.map_err(|error| UpstreamError::Invalid(format!("its Link: {error}")))?;
    let elsewhere = |next: &Url| {
        let host = next.host_str().unwrap_or("no host");
        let message = format!("its list goes on at {host}, which is not its own host");
        UpstreamError::Invalid(message)
    };
    let is_home = next.host_str() == current.host_str();
    if !is_home && next.host_str() != answered.host_str() {
        return Err(elsewhere(&next));
    }
    let mut url = current.clone();
    url.set_query(next.query());
    if is_same_list(next.path(), current) || is_same_list(next.path(), answered) {
        return Ok(url);
    }
    if !is_home {
        return Err(elsewhere(&next));
    }
    url.set_path(next.path());
    Ok(url)
}

/// Whether the path is that of the list at `url`. A proxy may serve the registry below a path, or its repositories
/// below a name, that the registry does not know.
fn is_same_list(path: &str, url: &Url) -> bool {
    let has_longer_name = |(_, list): (&str, &str)| {
        let before = url.path().strip_suffix(list);
        before.is_some_and(|before| before.contains("/v2/") && before.ends_with('/'))
    };
    url.path().ends_with(path) || path.split_once("/v2/").is_some_and(has_longer_name)
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
            return if names_next { Err(Unreadable) } else { Ok(None) };
        };
        let (is_next, after) = relation(after);
        if is_next {
            return Ok(Some(target.trim()));
        }
        rest = after;
    }
}

/// Whether the parameters of a link make it the next page's, and the text after them. A link without a relation is the
/// next page's, because the request was for a list.
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
            let text = text.trim_start_matches(blank);
            // Some registries use single quotes.
            let quoted = text.strip_prefix('\'').and_then(|it| it.split_once('\''));
            (value, rest) = match quoted {
                Some((value, rest)) => (value.to_owned(), rest),
                None => parameter(text, ';'),
            };
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
            "</x?a,b;c>; rel='next'",
            "</y>; rel='first prev', </x?a,b;c>; title='x; y'; rel='prev next'; type=x",
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
            ("http://R.example.com:5000/v2/a/tags/list?last=x", "/base/v2/a/tags/list?last=x"),
        ] {
            let url = resolve(target, &current, &current).unwrap();
            let expected = format!("https://r.example.com{expected}");
            assert_eq!(url.as_str(), expected, "{target}");
        }
        for target in ["https://evil.example.com/x", "//evil/x", "mailto:x", "http://"] {
            assert!(resolve(target, &current, &current).is_err(), "{target}");
        }
    }

    #[test]
    fn a_list_of_which_a_proxy_shows_another_name() {
        let home = Url::parse("https://r.example.com/base/v2/team/a/tags/list?n=10").unwrap();
        let answered = Url::parse("https://s.example.com/v2/proj/a/tags/list?n=10").unwrap();
        let expected = "https://r.example.com/base/v2/team/a/tags/list?last=x";
        for target in [
            "?last=x",
            "list?last=x",
            "/v2/proj/a/tags/list?last=x",
            "https://s.example.com/v2/proj/a/tags/list?last=x",
            "http://s.example.com:5000/v2/proj/a/tags/list?last=x",
            "https://r.example.com/v2/team/a/tags/list?last=x",
            "/v2/a/tags/list?last=x",
            "/base/v2/a/tags/list?last=x",
        ] {
            let url = resolve(target, &home, &answered).unwrap();
            assert_eq!(url.as_str(), expected, "{target}");
        }
        for target in ["https://third.example.com/v2/proj/a/tags/list?last=x", "/v2/proj/b/tags/list?last=x"] {
            assert!(resolve(target, &home, &answered).is_err(), "{target}");
        }
        // A name that only ends alike is another's.
        let other = Url::parse("https://r/v2/team/ba/tags/list").unwrap();
        assert!(!is_same_list("/v2/a/tags/list", &other));
    }
}
