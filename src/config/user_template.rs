//! `auth.oidc[].user`: the name of a user, made of claims.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::values::deserialize_from_str;

/// The name of a user with claims in it: `{repository}@{ref}`.
///
/// Invariants: it has a claim, and signs between each two. No value of a claim may have one of these signs, so that a
/// user's name says which value each claim had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTemplate {
    text: String,
    parts: Vec<TemplatePart>,
}

/// A part of a [`UserTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// This text.
    Text(String),
    /// The value of this claim.
    Claim(String),
}

impl UserTemplate {
    /// Its parts, in their order.
    #[must_use]
    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// The claims in it.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Claim(claim) => Some(claim.as_str()),
            TemplatePart::Text(_) => None,
        })
    }

    /// The signs that stand between two claims, which no value may have.
    pub fn separators(&self) -> impl Iterator<Item = char> {
        let inner = self.parts.get(1..self.parts.len().saturating_sub(1)).unwrap_or_default();
        inner.iter().flat_map(|part| match part {
            TemplatePart::Text(text) => text.chars(),
            TemplatePart::Claim(_) => "".chars(),
        })
    }
}

impl FromStr for UserTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or("a { has no }: claims are written {claim}")?;
            if claim.is_empty() || claim.contains('{') {
                return Err("a claim is written {claim}, with its name between the braces");
            }
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.to_owned()));
            } else if !parts.is_empty() {
                return Err("two claims stand side by side: put a sign between them, as in {repository}@{ref}");
            }
            parts.push(TemplatePart::Claim(claim.to_owned()));
            rest = after;
        }
        if parts.is_empty() {
            return Err("it has no claim, so that all clients were one user: write as in {repository}@{ref}");
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.to_owned()));
        }
        let template = Self { text: text.to_owned(), parts };
        if template.separators().any(char::is_alphanumeric) {
            return Err("between two claims stand only signs, which no value may have, as in {repository}@{ref}");
        }
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '}' | '*' | ',');
        let texts = template.parts.iter().filter_map(|part| match part {
            TemplatePart::Text(text) => Some(text),
            TemplatePart::Claim(_) => None,
        });
        if texts.into_iter().any(|text| text.contains(is_odd)) {
            return Err("beside claims, a user's name has no blanks, no commas, and neither * nor }");
        }
        Ok(template)
    }
}

impl Serialize for UserTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl fmt::Display for UserTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

deserialize_from_str!(UserTemplate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_tells_its_claims_apart() {
        let template = |text: &str| text.parse::<UserTemplate>();
        for (text, claims, separators) in [
            ("{repository}@{ref}", vec!["repository", "ref"], "@"),
            ("{sub}", vec!["sub"], ""),
            ("team-{sub}-x", vec!["sub"], ""),
            (
                "{/kubernetes.io/namespace}:{/kubernetes.io/serviceaccount/name}!",
                vec!["/kubernetes.io/namespace", "/kubernetes.io/serviceaccount/name"],
                ":",
            ),
        ] {
            let parsed = template(text).unwrap();
            assert_eq!(parsed.claims().collect::<Vec<_>>(), claims, "{text}");
            assert_eq!(parsed.separators().collect::<String>(), separators, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", "ci", "{a}{b}", "{", "{a", "a}", "{}", "{a}x{b}", "{a}, {b}", "{a}*", "{{a}}", "{a}@b}"] {
            assert!(template(text).is_err(), "{text}");
        }
    }
}
