//! `WWW-Authenticate` (RFC 9110, section 11.6.1), as far as registries use it: Basic, and Bearer with
//! the parameters of the distribution token specification.

use std::collections::HashMap;

/// What a registry demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where to ask for it.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The challenge of one header value that pounce can meet, Bearer before Basic.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in challenges(value) {
            match scheme.as_str() {
                "bearer" => {
                    let mut parameters = parameters;
                    if let Some(realm) = parameters.remove("realm") {
                        let (service, scope) =
                            (parameters.remove("service"), parameters.remove("scope"));
                        return Some(Self::Bearer {
                            realm,
                            service,
                            scope,
                        });
                    }
                }
                "basic" => basic = Some(Self::Basic),
                _ => {}
            }
        }
        basic
    }
}

#[cfg(feature = "internals")]
pub(crate) fn fuzz(text: &str) {
    let _ = Challenge::parse(text);
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
            // Nothing left, or nothing that can be read.
            return found;
        }
        let after = after.trim_start_matches([' ', '\t']);
        if let Some(text) = after.strip_prefix('=') {
            let (text, behind) = parameter(text.trim_start_matches([' ', '\t']));
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

/// A parameter's value, quoted or not, and what comes behind it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
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

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn the_registries_of_the_field() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/busybox:pull,push"),
        );
        assert_eq!(Challenge::parse(hub), Some(expected));
        assert_eq!(
            Challenge::parse("Basic realm=\"x\""),
            Some(Challenge::Basic)
        );
        assert_eq!(
            Challenge::parse("bearer REALM=https://a/b , service = c"),
            Some(bearer("https://a/b", Some("c"), None))
        );
    }

    #[test]
    fn several_schemes_and_escapes() {
        let both = r#"Basic realm="a, b", Bearer realm="https://a/\"b""#;
        assert_eq!(
            Challenge::parse(both),
            Some(bearer("https://a/\"b", None, None))
        );
        assert_eq!(
            Challenge::parse("Negotiate abc==, Basic realm=x"),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for value in [
            "",
            ",,,",
            "=",
            "Bearer",
            "Bearer service=x",
            "Digest realm=x",
            "Bearer realm",
            "\"",
            "é=\"é",
        ] {
            assert_eq!(Challenge::parse(value), None, "{value}");
        }
    }
}
