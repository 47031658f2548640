//! Patterns for names of users, repositories and tags: `*`, `?` and `[a-z]`, and `**` for repositories.

mod syntax;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use syntax::{Token, check_syntax, covers, tokens};

/// A pattern for names of repositories: `*`, `?` and `[a-z]` are within a component, `**` is any number of components.
pub type RepositoryPattern = Pattern<Repositories>;

/// A pattern for names of users, in which a slash is a character like any other.
pub type UserPattern = Pattern<Users>;

/// A pattern for tags.
pub type TagPattern = Pattern<Tags>;

/// A pattern for values of claims, in which a slash is a character like any other.
pub type ClaimPattern = Pattern<Claims>;

/// A pattern for names of one kind.
#[derive(Clone)]
pub struct Pattern<K> {
    text: String,
    matcher: GlobMatcher,
    tokens: Vec<Token>,
    kind: PhantomData<K>,
}

/// What names a pattern is for.
pub trait Names {
    /// Whether the names have components, between slashes.
    const COMPONENTS: bool;

    /// Whether a name may fit a pattern, which has none of another glob's syntax.
    ///
    /// # Errors
    /// The sentence that says what such names have.
    fn check(pattern: &str) -> Result<(), String>;
}

/// Names of repositories.
#[derive(Clone, Copy, Debug)]
pub enum Repositories {}

/// Names of users.
#[derive(Clone, Copy, Debug)]
pub enum Users {}

/// Tags.
#[derive(Clone, Copy, Debug)]
pub enum Tags {}

/// Values of claims.
#[derive(Clone, Copy, Debug)]
pub enum Claims {}

impl Names for Repositories {
    const COMPONENTS: bool = true;

    fn check(pattern: &str) -> Result<(), String> {
        let message = "no name of a repository fits: they have lower case, digits, and '.', '_' or '-' between them, in \
                       components between single slashes";
        if is_possible_repository(pattern) { Ok(()) } else { Err(message.to_owned()) }
    }
}

impl Names for Users {
    const COMPONENTS: bool = false;

    fn check(pattern: &str) -> Result<(), String> {
        let message = "no name of a user fits: they have no blanks, colons or commas; write several as a list";
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == ',';
        let Some((provider, rest)) = pattern.split_once(':') else {
            return if pattern.contains(is_odd) { Err(message.to_owned()) } else { Ok(()) };
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_provider = !provider.is_empty() && provider.chars().all(is_name);
        // Names of users with claims may have blanks inside.
        if !is_provider || rest.is_empty() || rest.trim() != rest || rest.contains([',', '\n', '\r', '\t']) {
            let message = "before a colon stands the name of one of auth.oidc, or bucket, without wildcards, and behind \
                           it a pattern, without commas and without blanks at its ends";
            return Err(message.to_owned());
        }
        Ok(())
    }
}

impl Names for Claims {
    const COMPONENTS: bool = false;

    fn check(pattern: &str) -> Result<(), String> {
        let message = "no value of a claim fits that may be part of a user's name: they have no control characters, and \
                       no blanks at their ends";
        let is_odd = pattern.contains(char::is_control) || pattern.trim() != pattern;
        if is_odd { Err(message.to_owned()) } else { Ok(()) }
    }
}

impl Names for Tags {
    const COMPONENTS: bool = false;

    fn check(pattern: &str) -> Result<(), String> {
        let message = "no tag fits: they have letters, digits, '.', '_' and '-', and begin with none of '.' and '-'";
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-*?[]".contains(c);
        let is_possible = pattern.chars().all(is_allowed) && !pattern.starts_with(['.', '-']);
        if is_possible { Ok(()) } else { Err(message.to_owned()) }
    }
}

impl<K> Pattern<K> {
    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern certainly matches every name that the other one matches. `false` may be wrong, because only
    /// the patterns' texts are compared.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        covers(&self.tokens, &other.tokens)
    }

    /// Whether every name matches, because the pattern is `*`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.tokens.iter().all(|token| *token == Token::Star)
    }
}

impl UserPattern {
    /// The name of the OIDC provider whose users it is about, or [`BUCKET`](super::BUCKET); `None` if it is about users
    /// without one. The pattern `*` is about all.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.text.split_once(':').map(|(provider, _)| provider)
    }

    /// Whether it certainly matches every user that the other one matches, where a pattern without a provider matches
    /// no user of one, unless it is `*`.
    pub(super) fn covers_users(&self, other: &Self) -> bool {
        self.is_all() || (self.provider() == other.provider() && !other.is_all() && self.covers(other))
    }
}

impl RepositoryPattern {
    /// The first component, and what follows its slash, if anything does.
    pub(super) fn first_component(&self) -> (&str, Option<&str>) {
        match self.text.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (&self.text, None),
        }
    }
}

impl<K: Names> FromStr for Pattern<K> {
    type Err = String;

    /// Refuses a pattern that no name can match, because a rule with it would forbid nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        check_syntax(text, K::COMPONENTS)?;
        K::check(text)?;
        let tokens = tokens(text, K::COMPONENTS)?;
        let mut glob = GlobBuilder::new(text);
        let glob = glob.literal_separator(K::COMPONENTS).backslash_escape(false).build();
        let matcher = glob.map_err(|error| error.kind().to_string())?.compile_matcher();
        Ok(Self { text: text.to_owned(), matcher, tokens, kind: PhantomData })
    }
}

impl<K> PartialEq for Pattern<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<K> Eq for Pattern<K> {}

impl<'de, K: Names> Deserialize<'de> for Pattern<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format_args!("{text}: {error}")))
    }
}

impl<K> fmt::Debug for Pattern<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl<K> Serialize for Pattern<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Whether a text has no wildcards.
pub(super) fn is_literal(text: &str) -> bool {
    !text.contains(['*', '?', '['])
}

fn is_possible_repository(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/*?[]".contains(c);
    let separators = ['.', '_', '-'];
    let is_component = |it: &str| !it.is_empty() && !it.starts_with(separators) && !it.ends_with(separators);
    text.len() <= 255 && text.chars().all(is_allowed) && text.split('/').all(is_component)
}

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
        for text in
            ["", "a b", "a,b", "A:b", "*:b", ":b", "a:", "a: b", "a:b,c", "{a,b}", "a\\b", "[!a]", "[", "a\u{7}"]
        {
            assert!(text.parse::<UserPattern>().is_err(), "{text}");
        }
        for text in ["*", "ci-*", "org/alice", "a@b.c", "user-[0-9]", "github:org/*@refs/heads/main", "a:b c"] {
            assert!(text.parse::<UserPattern>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a,b", "a:b", "a/b", "{a,b}", "[!a]", "^v1", "-a", ".a", "ä", "latest!"] {
            assert!(text.parse::<TagPattern>().is_err(), "{text}");
        }
        for text in ["*", "v*", "v[0-9]*.?", "Latest", "_a", "1.2-rc*", "[a-c]*"] {
            assert!(text.parse::<TagPattern>().is_ok(), "{text}");
        }
        assert!("v*".parse::<TagPattern>().unwrap().matches("v1.2-rc.1"));
        for text in ["", " a", "a\n", "{a,b}", "[!a]"] {
            assert!(text.parse::<ClaimPattern>().is_err(), "{text}");
        }
        for text in ["*", "refs/heads/*", "repo:org/*:ref:refs/heads/main", "Build, test and push", "1234"] {
            assert!(text.parse::<ClaimPattern>().is_ok(), "{text}");
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
    fn users_of_a_provider_are_covered_by_its_patterns_and_by_all() {
        let cases = [
            ("*", "github:*", true),
            ("*", "ci", true),
            ("g*", "github:a", false),
            ("*b", "github:a/b", false),
            ("github:*", "github:a/*", true),
            ("github:*", "gitlab:a", false),
            ("github:*", "*", false),
            ("g*", "*", false),
        ];
        for (wide, narrow, expected) in cases {
            let parse = |text: &str| text.parse::<UserPattern>().unwrap();
            assert_eq!(parse(wide).covers_users(&parse(narrow)), expected, "{wide} {narrow}");
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
