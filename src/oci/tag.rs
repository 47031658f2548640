//! Tags.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A tag, cheap to clone.
///
/// Invariant: it matches the spec's `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`, so it is not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

/// The text is not a [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag has 1 to 128 letters, digits, '.', '_' and '-', and does not begin with '.' or '-'")]
pub struct TagError;

impl Tag {
    /// The spec's limit.
    pub const MAX_LEN: usize = 128;

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fits = match text.as_bytes() {
            [first, rest @ ..] => {
                word(*first) && rest.len() < Self::MAX_LEN && rest.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
            }
            [] => false,
        };
        if fits { Ok(Self(text.into())) } else { Err(TagError) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specs_expression_decides() {
        for text in ["latest", "v1.2.3", "_x", "A-b_C", &"a".repeat(128)] {
            assert!(text.parse::<Tag>().is_ok(), "{text}");
        }
        for text in ["", ".", "..", "-x", ".x", "a b", "a/b", "a:b", "ä", &"a".repeat(129)] {
            assert_eq!(text.parse::<Tag>(), Err(TagError), "{text}");
        }
    }
}
