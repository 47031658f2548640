//! Texts of other people: names, annotations, commands. Each is isolated, so that marks that turn the direction of
//! writing end with it, and cut.

use maud::{Markup, html};

use crate::oci::{Digest, RepositoryName};

/// The most characters of a text that is shown.
const MAX: usize = 2000;

/// A text, cut.
pub(super) fn text(text: &str) -> Markup {
    let end = text.char_indices().nth(MAX).map(|(end, _)| end);
    html! { bdi { (&text[..end.unwrap_or(text.len())]) @if end.is_some() { "…" } } }
}

/// The name of a repository, whose last component stands out.
pub(super) fn name(name: &RepositoryName) -> Markup {
    let (path, last) = name.as_str().rsplit_once('/').map_or(("", name.as_str()), |(path, last)| (path, last));
    html! { bdi.name { @if !path.is_empty() { span.path { (path) "/" } } (last) } }
}

/// A digest, short.
pub(super) fn digest(digest: &Digest) -> Markup {
    let hex = digest.hex();
    html! { code.digest title=(digest) { (&hex[..12]) } }
}

/// A text that is a link if it is the URL of a website.
pub(super) fn linked(value: &str) -> Markup {
    let url = url::Url::parse(value).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && value.len() <= MAX);
    match url {
        Some(url) => html! { a href=(url) rel="noopener noreferrer nofollow" { (text(value)) } },
        None => text(value),
    }
}

/// A text that people copy.
pub(super) fn copied(label: &str, value: &str) -> Markup {
    html! { div.command { code data-copy aria-label=(label) tabindex="0" { (value) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websites_are_linked() {
        for value in ["https://example.org/a?b=c&d", "http://example.org"] {
            assert!(linked(value).into_string().starts_with("<a href=\"http"), "{value}");
        }
        for value in ["javascript:alert(1)", "data:text/html,x", "//example.org", "ftp://x", "JaVaScRiPt:x", "x", ""] {
            assert!(linked(value).into_string().starts_with("<bdi>"), "{value}");
        }
    }

    #[test]
    fn markup_is_text_and_long_texts_are_cut() {
        assert_eq!(text("<script>\"&").into_string(), "<bdi>&lt;script&gt;&quot;&amp;</bdi>");
        let long = text(&"ä".repeat(MAX + 1)).into_string();
        assert_eq!(long.chars().filter(|it| *it == 'ä').count(), MAX);
    }
}
