//! Where an upstream is, and under which name its repositories begin there.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::hosts::WebUrl;

/// A registry's URL: `https://host`, or `https://host/base` for one whose API is not at the root, or either with `/v2/`
/// and the beginning of the names of its repositories: a project of Harbor's, a virtual repository of Artifactory's, a
/// pull-through rule of ECR's, `GROUP/dependency_proxy/containers` of GitLab's.
///
/// Invariants: the base is what [`WebUrl`] says, without a `v2` component; the prefix is a repository name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteUrl {
    base: Url,
    prefix: Option<String>,
}

impl RemoteUrl {
    /// Where `/v2/` is.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// What stands between `/v2/` and the names of repositories, without slashes around it.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }
}

impl FromStr for RemoteUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut base = text.parse::<WebUrl>()?.as_url().clone();
        let path = format!("{}/", base.path().trim_end_matches('/'));
        let Some((before, after)) = path.split_once("/v2/") else {
            return Ok(Self { base, prefix: None });
        };
        let prefix = after.trim_end_matches('/').to_owned();
        base.set_path(before);
        let is_name = prefix.len() < 255 && prefix.split('/').all(is_component);
        if !(prefix.is_empty() || is_name) {
            return Err(
                "what stands behind /v2/ must be the beginning of repositories' names: lower-case letters and \
                 digits, with single '.', '_', '__' or dashes between them, in components separated by '/'",
            );
        }
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        Ok(Self { base, prefix })
    }
}

/// A component of a repository name (spec, "Pulling manifests"): `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && text.split(is_word).all(is_separator)
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))?;
        match &self.prefix {
            Some(prefix) => write!(f, "/v2/{prefix}"),
            None => Ok(()),
        }
    }
}

impl Serialize for RemoteUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RemoteUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_v2_is_a_base_and_a_prefix() {
        for (text, base, prefix) in [
            ("https://h", "https://h/", None),
            ("https://h/", "https://h/", None),
            ("https://h/a/docker/b", "https://h/a/docker/b", None),
            ("https://h/v2", "https://h/", None),
            ("https://h/v2/", "https://h/", None),
            ("https://h/a/v2/", "https://h/a", None),
            ("https://h/v2/hub", "https://h/", Some("hub")),
            ("https://h/v2/hub/", "https://h/", Some("hub")),
            ("https://h/a/v2/b__c/d-.e/", "", None),
            ("https://h/a/v2/b__c/d.e/", "https://h/a", Some("b__c/d.e")),
            ("https://h/v2/a/v2/b", "https://h/", Some("a/v2/b")),
            ("https://h/v20/a", "https://h/v20/a", None),
        ] {
            let parsed = text.parse::<RemoteUrl>();
            let Ok(parsed) = parsed else {
                assert!(base.is_empty(), "{text}");
                continue;
            };
            assert_eq!(parsed.base().as_str(), base, "{text}");
            assert_eq!(parsed.prefix(), prefix, "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_prefix() {
        let long = format!("https://h/v2/{}", "a".repeat(255));
        for text in [
            "https://h/v2/Hub",
            "https://h/v2//hub",
            "https://h/v2/a//b",
            "https://h/v2/-a",
            "https://h/v2/a-",
            "https://h/v2/a..b",
            "https://h/v2/a___b",
            "https://h/v2/a%20b",
            "https://h/v2/a:b",
            "https://h/v2/_catalog",
            &long,
        ] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text}");
        }
    }
}
