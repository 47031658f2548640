//! Repository names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a repository, cheap to clone.
///
/// Invariants: it matches the spec's `<name>` (path components of lower-case letters and digits, separated inside by
/// `.`, `_`, `__` or dashes), so it is never empty, has no `..` and no empty component; and it has at most
/// [`RepositoryName::MAX_LEN`] characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

/// Why a text is not a [`RepositoryName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than [`RepositoryName::MAX_LEN`].
    #[error("a repository name has at most 255 characters")]
    TooLong,
    /// Does not match the spec's expression.
    #[error(
        "a repository name is made of lower-case letters and digits, with single '.', '_', '__' or \
         dashes between them, in components separated by '/'"
    )]
    Form,
    /// Not even a name of an upstream whose names are relaxed.
    #[error(
        "a repository name of this upstream is made of letters, digits, '.', '_' and '-', in components separated by '/' \
         that have a letter or digit each"
    )]
    Relaxed,
    /// Longer than [`RepositoryName::MAX_LEN`] once it is escaped.
    #[error("a repository name has at most 255 characters, and this one has more with its upper-case letters escaped")]
    EscapedTooLong,
}

impl RepositoryName {
    /// distribution's limit; the spec asks only that clients' limits be respected.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong);
        }
        if text.as_bytes().split(|byte| *byte == b'/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Form)
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(mut rest: &[u8]) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    loop {
        let word = rest.iter().take_while(|b| alphanumeric(b)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = match rest {
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            [b'-', ..] => rest.iter().take_while(|b| **b == b'-').count(),
            _ => return false,
        };
        rest = &rest[separator..];
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The spec's expression, for names that are not too long.
    const NAME: &str =
        r"[a-z0-9]{1,5}((\.|_|__|-{1,4})[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,5}((\.|_|__|-{1,4})[a-z0-9]{1,5}){0,3}){0,3}";

    proptest! {
        #[test]
        fn whatever_the_specs_expression_makes_is_a_name(text in NAME) {
            let parsed = text.parse::<RepositoryName>();
            prop_assert_eq!(parsed.map(|name| name.to_string()), Ok(text));
        }

        #[test]
        fn a_name_is_a_path_that_leads_nowhere_else(text in "[a-b0._/-]{0,12}|.{0,20}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.as_str(), &text);
                for component in text.split('/') {
                    let edges = [component.chars().next(), component.chars().last()];
                    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                    prop_assert!(edges.into_iter().all(|edge| edge.is_some_and(inside)), "{:?}", text);
                    prop_assert!(!component.contains("..") && !component.contains("___"));
                }
            }
        }
    }

    #[test]
    fn names_of_the_field_are_accepted() {
        for text in ["a", "library/ubuntu", "a/b/c/d", "a.b", "a_b", "a__b", "a---b", "0/1", "ghcr.io/org/app"] {
            assert_eq!(text.parse::<RepositoryName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a..b", "a.-b", "a___b", "-a", "a-", "_a", "A", "a/B",
            "a b", "a%2fb", "a\0b", "ä", "a:b", "a@b",
        ] {
            assert_eq!(text.parse::<RepositoryName>(), Err(NameError::Form), "{text:?}");
        }
        assert_eq!("a".repeat(256).parse::<RepositoryName>(), Err(NameError::TooLong));
    }
}
