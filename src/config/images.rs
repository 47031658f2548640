//! Patterns for images of an upstream.

use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::patterns::{RepositoryPattern, TagPattern};
use super::values;

/// A pattern for repositories of one upstream, without its host, and perhaps for tags: `library/*`, `**:v*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern {
    text: String,
    repository: RepositoryPattern,
    tag: Option<TagPattern>,
}

impl ImagePattern {
    /// Whether a repository fits, whatever the tag.
    #[must_use]
    pub fn fits_repository(&self, name: &str) -> bool {
        self.repository.matches(name)
    }

    /// Whether a tag of a repository fits; of content that was asked for by its digest, `None`, only a pattern without
    /// tags.
    #[must_use]
    pub fn fits(&self, name: &str, tag: Option<&str>) -> bool {
        let fits_tag = match (&self.tag, tag) {
            (None, _) => true,
            (Some(pattern), Some(tag)) => pattern.matches(tag),
            (Some(_), None) => false,
        };
        fits_tag && self.fits_repository(name)
    }

    /// Whether the pattern certainly fits all that the other one does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covers_tags = match (&self.tag, &other.tag) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => wide.covers(narrow),
        };
        covers_tags && self.repository.covers(&other.repository)
    }

    /// The first component of the repository's name, if it has several.
    pub(super) fn host_like(&self) -> Option<&str> {
        let (first, rest) = self.repository.first_component();
        rest.map(|_| first)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern for Docker Hub, whose official images clients write without `library/`.
    #[must_use]
    pub fn in_full(&self) -> Self {
        let is_short = !self.repository.as_str().contains('/') && self.repository.as_str() != "**";
        let full = is_short.then(|| format!("library/{}", self.text).parse().ok()).flatten();
        full.unwrap_or_else(|| self.clone())
    }
}

impl FromStr for ImagePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (repository, tag) = match text.split_once(':') {
            Some((_, "")) => return Err("behind the colon, there is a pattern for tags".to_owned()),
            Some((repository, tag)) => (repository, Some(tag.parse()?)),
            None => (text, None),
        };
        Ok(Self { text: text.to_owned(), repository: repository.parse()?, tag })
    }
}

values::deserialize_from_str!(ImagePattern);

impl Serialize for ImagePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
