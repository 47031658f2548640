//! Patterns for names of users and repositories, as `auth.rules` has them: `*`, `?` and `[a-z]`, and `**` in those of
//! repositories.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Serialize, Serializer};

/// A pattern for names of repositories: `*`, `?` and `[a-z]` are within a component, `**` is any number of components.
#[derive(Clone)]
pub struct RepositoryPattern(Pattern);

/// A pattern for names of users, in which a slash is a letter as any other.
#[derive(Clone)]
pub struct UserPattern(Pattern);

#[derive(Clone)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
    tokens: Vec<Token>,
}

/// One letter of a pattern, or what stands for several.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Letter(char),
    /// `/` in the names of repositories.
    Slash,
    /// `?`
    Any,
    /// `[a-z]`
    Class(String),
    /// `*`
    Star,
    /// `**`
    Components,
}

const CLASS: &str = "a class is letters, digits, '.', '_', '-' and ranges between brackets, as in [a-z0-9]";

impl Pattern {
    fn new(text: &str, components: bool) -> Result<Self, String> {
        let tokens = tokens(text, components)?;
        let glob = GlobBuilder::new(text)
            .literal_separator(components)
            .backslash_escape(false)
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher(), tokens })
    }
}

/// What other globs have is refused by name: where it was taken for a letter, the pattern would fit nothing.
fn meaningful(text: &str, components: bool) -> Result<(), String> {
    if text.is_empty() {
        return Err("a pattern is not empty".to_owned());
    }
    if components && text.contains(':') {
        return Err("names have no colon: a host's port stands behind an underscore, as in registry_5000/**".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| matches!(c, '{' | '}' | '\\') || (components && matches!(c, '!' | '^'))) {
        return Err(format!(
            "{odd} has no meaning in a pattern: there are *, ? and [a-z]{}; write alternatives as several patterns",
            if components { ", and ** for any components" } else { "" }
        ));
    }
    Ok(())
}

fn tokens(text: &str, components: bool) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' if components && rest.peek() == Some(&'*') => {
                rest.next();
                let begins = matches!(tokens.last(), None | Some(Token::Slash));
                if !begins || !matches!(rest.peek(), None | Some('/')) {
                    return Err("** is a whole component, as in team/**".to_owned());
                }
                Token::Components
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '/' if components => Token::Slash,
            ']' => return Err(CLASS.to_owned()),
            '[' => {
                let class: String = rest.by_ref().take_while(|c| *c != ']').collect();
                let ended = text.matches('[').count() == text.matches(']').count();
                if !ended || !is_class(&class) {
                    return Err(CLASS.to_owned());
                }
                Token::Class(class)
            }
            letter => Token::Letter(letter),
        });
    }
    Ok(tokens)
}

/// No class has a slash in it, nor the reverse of a class.
fn is_class(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let (mut at, is_word) = (0, |c: char| c.is_ascii_alphanumeric());
    while let Some(letter) = letters.get(at).copied() {
        let range = letters.get(at + 1) == Some(&'-') && at + 2 < letters.len();
        if range {
            let end = letters[at + 2];
            let same = |of: fn(&char) -> bool| of(&letter) && of(&end);
            let is_range =
                same(char::is_ascii_digit) || same(char::is_ascii_lowercase) || same(char::is_ascii_uppercase);
            if !is_range || letter > end {
                return false;
            }
            at += 3;
        } else if is_word(letter) || matches!(letter, '.' | '_' | '-') {
            at += 1;
        } else {
            return false;
        }
    }
    !letters.is_empty()
}

/// Whether every name that fits `narrow` fits `wide`: what stands for several letters in the one is taken by what
/// stands for as many in the other. Where it says no, there may yet be none that does not.
fn covers(wide: &[Token], narrow: &[Token]) -> bool {
    let Some((first, others)) = wide.split_first() else {
        return narrow.is_empty();
    };
    let same = |token: &Token| match first {
        Token::Any => matches!(token, Token::Any | Token::Letter(_) | Token::Class(_)),
        first => first == token,
    };
    let takes = |token: &Token| match first {
        Token::Star => !matches!(token, Token::Slash | Token::Components),
        _ => true,
    };
    match (first, narrow.split_first()) {
        (Token::Star, _) => {
            (0..=narrow.iter().take_while(|token| takes(token)).count()).any(|taken| covers(others, &narrow[taken..]))
        }
        // At least one component.
        (Token::Components, _) => (1..=narrow.len()).any(|taken| covers(others, &narrow[taken..])),
        (_, Some((token, rest))) => same(token) && covers(others, rest),
        (_, None) => false,
    }
}

impl RepositoryPattern {
    /// The first component and what stands behind its slash, if anything does.
    #[must_use]
    pub fn first_component(&self) -> (&str, Option<&str>) {
        match self.as_str().split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (self.as_str(), None),
        }
    }

    /// Whether it is the name of one repository.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        is_literal(self.as_str())
    }
}

/// Whether a text has nothing that stands for something else.
pub(super) fn is_literal(text: &str) -> bool {
    !text.contains(['*', '?', '['])
}

macro_rules! pattern {
    ($name:ident, $components:literal, $impossible:expr, $why:literal) => {
        impl $name {
            /// Whether a name fits.
            #[must_use]
            pub fn matches(&self, name: &str) -> bool {
                self.0.matcher.is_match(name)
            }

            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// Whether every name that fits the other fits this one, as far as the forms of both tell.
            #[must_use]
            pub fn covers(&self, other: &Self) -> bool {
                covers(&self.0.tokens, &other.0.tokens)
            }
        }

        impl FromStr for $name {
            type Err = String;

            /// One that no name can fit would forbid nothing.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                meaningful(text, $components)?;
                if $impossible(text) {
                    return Err($why.to_owned());
                }
                Pattern::new(text, $components).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pattern!(
    RepositoryPattern,
    true,
    |text: &str| {
        let odd = |c: char| {
            let known = "abcdefghijklmnopqrstuvwxyz0123456789._-/*?[]";
            !known.contains(c)
        };
        let edge = |component: &str| {
            let separators = ['.', '_', '-'];
            component.is_empty() || component.starts_with(separators) || component.ends_with(separators)
        };
        text.contains(odd) || text.split('/').any(edge) || text.len() > 255
    },
    "no name of a repository fits: they have lower case, digits, and '.', '_' or '-' between them, in components \
     between single slashes"
);
pattern!(
    UserPattern,
    false,
    |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',')),
    "no name of a user fits: they have no blanks, colons or commas; write several as a list"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "",
            "{a,b}",
            "team/{a,b}",
            "a\\*",
            "a**",
            "**a",
            "a/**b/c",
            "***",
            "a/***",
            "[",
            "a]",
            "[]",
            "[!a]",
            "[^a]",
            "[a/b]",
            "[.-0]",
            "[z-a]",
            "[a-Z]",
            "a[b",
            "/a",
            "a/",
            "a//b",
            "A",
            "a b",
            "a:b",
            "-a",
            "a/.b",
            "ä",
            "a,b",
            "a!b",
            "a@b",
        ] {
            assert!(text.parse::<RepositoryPattern>().is_err(), "{text}");
        }
        assert!("a".repeat(256).parse::<RepositoryPattern>().is_err());
        for text in ["a", "*", "**", "**/a", "a/**", "a/**/b", "a?c/*", "[a-c]*/x[0-9._-]", "docker.io/**"] {
            assert!(text.parse::<RepositoryPattern>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a,b", "a:b", "{a,b}", "a\\b", "[!a]", "[", "a\u{7}"] {
            assert!(text.parse::<UserPattern>().is_err(), "{text}");
        }
        for text in ["*", "ci-*", "org/alice", "a@b.c", "user-[0-9]"] {
            assert!(text.parse::<UserPattern>().is_ok(), "{text}");
        }
    }

    #[test]
    fn no_component_is_left_but_by_two_stars() {
        let cases = [
            ("*", "a/b", false),
            ("a?b", "a/b", false),
            ("a[.-_]b", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**", "ab/c", false),
            ("**/b", "a/b", true),
        ];
        for (pattern, name, fits) in cases {
            let parsed = pattern.parse::<RepositoryPattern>();
            assert_eq!(parsed.is_ok_and(|it| it.matches(name)), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_whole() {
        let cases = [
            ("**", "a/*/b?", true),
            ("a/**", "a/b/**", true),
            ("a/**", "a/*", true),
            ("a/**", "**", false),
            ("a/**", "a", false),
            ("a/*", "a/**", false),
            ("a/*", "a/b-*", true),
            ("a-*", "a-b", true),
            ("a?", "a[0-9]", true),
            ("a[0-9]", "a?", false),
            ("*/b", "a/b", true),
            ("*", "*", true),
            ("*", "a*b", true),
            ("a*b*c", "a1b2*c", true),
            ("a", "b", false),
        ];
        for (wide, narrow, expected) in cases {
            let parse = |text: &str| text.parse::<RepositoryPattern>().unwrap();
            assert_eq!(parse(wide).covers(&parse(narrow)), expected, "{wide} {narrow}");
        }
    }
}
