//! References to images: `alpine`, `ghcr.io/org/app:1.2`, `app@sha256:…`.

use std::fmt;
use std::str::FromStr;

use crate::oci::{Reference, parse_relaxed_name};

/// A reference to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageReference {
    text: String,
    /// The host of the registry, if the reference has one.
    pub(super) host: Option<String>,
    /// As it is written. The upstream decides which names are valid.
    pub(super) name: String,
    pub(super) reference: Reference,
}

impl FromStr for ImageReference {
    type Err = String;

    /// A tag beside a digest is ignored. Without either, the tag is `latest`.
    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(100).collect();
        let wrong = |why: &dyn fmt::Display| format!("{shown:?} is not a reference to an image: {why}");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_host(first) => (Some(first.to_ascii_lowercase()), rest),
            _ => (None, rest),
        };
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, tag),
            None => (rest, "latest"),
        };
        let reference = match digest {
            Some(digest) => Reference::Digest(digest.parse().map_err(|error| wrong(&error))?),
            None => Reference::Tag(tag.parse().map_err(|error| wrong(&error))?),
        };
        parse_relaxed_name(name).map_err(|error| wrong(&error))?;
        Ok(Self { text: text.to_owned(), host, name: name.to_owned(), reference })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_the_field() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let cases = [
            ("alpine", None, "alpine", "latest"),
            ("org/app:1.2", None, "org/app", "1.2"),
            ("ghcr.io/org/app", Some("ghcr.io"), "org/app", "latest"),
            ("localhost/app:x", Some("localhost"), "app", "x"),
            ("Registry:5000/a/b:c", Some("registry:5000"), "a/b", "c"),
            (&format!("quay.io/a:1@{digest}"), Some("quay.io"), "a", &digest),
            ("hf.co/org/Model-GGUF:Q4_K_M", Some("hf.co"), "org/Model-GGUF", "Q4_K_M"),
        ];
        for (text, host, name, reference) in cases {
            let parsed: ImageReference = text.parse().unwrap();
            assert_eq!(parsed.host.as_deref(), host);
            assert_eq!((&parsed.name[..], &parsed.reference.to_string()[..]), (name, reference));
        }
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["", "/", "a//b", "a:", "a@b", "a:b:c", "ghcr.io/", "a b", "https://ghcr.io/a"] {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
    }
}
