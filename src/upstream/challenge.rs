//! `WWW-Authenticate` (RFC 9110, section 11.6.1), as far as registries use it: Basic, and Bearer with the parameters of
//! the distribution token specification.

use std::collections::HashMap;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The authorization that a registry demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and a password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// The service that the token is for.
        service: Option<String>,
        /// The scope that the token must have.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The challenge of a response that pounce can meet, if there is one: Bearer before Basic, in whichever line it
    /// stands.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter();
        Self::best(lines.map(|value| String::from_utf8_lossy(value.as_bytes())))
    }

    fn best(lines: impl Iterator<Item = impl AsRef<str>>) -> Option<Self> {
        let all = lines.flat_map(|line| challenges(line.as_ref()));
        let all = all.filter_map(Self::from_scheme);
        // The first of the best.
        all.min_by_key(|challenge| match challenge {
            Self::Bearer { realm, .. } if is_web(realm) => 0,
            Self::Basic => 1,
            // No token can be fetched there; it is kept for the error.
            Self::Bearer { .. } => 2,
        })
    }

    fn from_scheme((scheme, mut parameters): (String, HashMap<String, String>)) -> Option<Self> {
        match scheme.as_str() {
            "bearer" => Some(Self::Bearer {
                realm: parameters.remove("realm")?,
                service: parameters.remove("service"),
                scope: parameters.remove("scope"),
            }),
            "basic" => Some(Self::Basic),
            _ => None,
        }
    }
}

fn is_web(realm: &str) -> bool {
    url::Url::parse(realm).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(feature = "internals")]
pub(crate) fn fuzz(text: &str) {
    let _ = Challenge::best(text.lines());
}

/// Splits a header value into schemes in lower case, each with its parameters.
fn challenges(value: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word_len = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_len);
        if word.is_empty() {
            // Nothing is left, or the rest is malformed.
            return found;
        }
        let after = after.trim_start_matches([' ', '\t']);
        if let Some(text) = after.strip_prefix('=') {
            let (text, behind) = parameter(text.trim_start_matches([' ', '\t']), ',');
            if let Some((_, parameters)) = found.last_mut() {
                parameters.entry(word.to_ascii_lowercase()).or_insert(text);
            }
            rest = behind;
        } else {
            found.push((word.to_ascii_lowercase(), HashMap::new()));
            rest = after;
        }
    }
}

/// A parameter's value, quoted or not, and the text after it. One without quotes ends with the list's element, with a
/// blank, or at `separator`.
pub(super) fn parameter(text: &str, separator: char) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let ends = [separator, ',', ' ', '\t'];
        let end = text.find(ends).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Option<Challenge> {
        Challenge::best(lines.lines())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn the_registries_of_the_field() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/busybox:pull,push"),
        );
        assert_eq!(parse(hub), Some(expected));
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("bearer REALM=https://a/b , service = c"), Some(bearer("https://a/b", Some("c"), None)));
    }

    #[test]
    fn several_schemes_and_escapes() {
        let both = r#"Basic realm="a, b", Bearer realm="https://a/\"b""#;
        assert_eq!(parse(both), Some(bearer("https://a/\"b", None, None)));
        assert_eq!(parse("Negotiate abc==, Basic realm=x"), Some(Challenge::Basic));
    }

    #[test]
    fn a_token_comes_before_a_password_in_any_line() {
        let token = bearer("https://a/b", None, None);
        for lines in [
            "Basic realm=x\nBearer realm=\"https://a/b\"",
            "Bearer realm=\"https://a/b\"\nBasic realm=x",
            "Negotiate\nBearer service=x\nBasic realm=x,Bearer realm=\"https://a/b\"",
        ] {
            assert_eq!(parse(lines), Some(token.clone()), "{lines}");
        }
        // A realm that leads nowhere does not hide a password that would do.
        let lines = "Bearer realm=\"/token\"\nBasic realm=x";
        assert_eq!(parse(lines), Some(Challenge::Basic));
        assert_eq!(parse("Bearer realm=\"/token\""), Some(bearer("/token", None, None)));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for value in ["", ",,,", "=", "Bearer", "Bearer service=x", "Digest realm=x", "Bearer realm", "\"", "é=\"é"] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
