//! The URL of an upstream, with the common prefix of its repositories' names.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use url::Url;

use super::hosts::WebUrl;
use super::values::deserialize_from_str;
use crate::oci::RepositoryName;

/// A registry's URL: `https://host`, or `https://host/base` for one whose API is not at the root; or either with `/v2/`
/// and a prefix of repository names: a project of Harbor, a virtual repository of Artifactory, a pull-through rule of
/// ECR, `GROUP/dependency_proxy/containers` of GitLab.
///
/// Invariants: the base is a [`WebUrl`] without a `v2` component; the prefix is a repository name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteUrl {
    base: Url,
    prefix: Option<String>,
}

impl RemoteUrl {
    /// The URL below which `/v2/` is.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// The prefix of repository names at the upstream, without slashes around it.
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
        let is_name = prefix.len() < RepositoryName::MAX_LEN && prefix.parse::<RepositoryName>().is_ok();
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

deserialize_from_str!(RemoteUrl);

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
