//! From the claims of a token to the user that it is for.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::{ClaimPattern, OidcProvider, TemplatePart};

/// The longest name of a user, in bytes, with the provider's.
const MAX_NAME: usize = 255;
/// How many characters of a value the log shows.
const MAX_SHOWN: usize = 64;

/// The name of the user that these claims are for: the provider's, a colon, and the claims in it.
///
/// # Errors
/// The configuration does not admit the claims, and why, for the log.
pub(super) fn user(config: &OidcProvider, claims: &Value) -> Result<String, String> {
    for (claim, patterns) in &config.claims {
        let value = find(claims, claim).ok_or_else(|| format!("the claim {claim} is missing"))?;
        admit(value, patterns).map_err(|why| format!("the claim {claim} {why}"))?;
    }
    let template = config.user.as_ref().ok_or_else(|| "there is no name for its user".to_owned())?;
    let mut name = format!("{}:", config.name());
    for part in template.parts() {
        match part {
            TemplatePart::Text(text) => name.push_str(text),
            TemplatePart::Claim(claim) => {
                let value = find(claims, claim).ok_or_else(|| format!("the claim {claim} is missing"))?;
                let value = named(value, template.separators());
                name.push_str(&value.map_err(|why| format!("the claim {claim} {why}"))?);
            }
        }
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name of its user would have {} bytes, and 255 are the most", name.len()));
    }
    Ok(name)
}

/// The claim of this name, or at this JSON pointer, which begins with a slash.
fn find<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    let found = if path.starts_with('/') { claims.pointer(path) } else { claims.get(path) };
    found.filter(|value| !value.is_null())
}

/// A single value as a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Checks that a pattern matches the value, or one of the single values in a list.
fn admit(value: &Value, patterns: &[ClaimPattern]) -> Result<(), String> {
    let values = match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        value => vec![text(value).ok_or("is an object: name what is in it, as in /claim/name")?],
    };
    if values.iter().any(|value| patterns.iter().any(|pattern| pattern.matches(value))) {
        return Ok(());
    }
    let mut shown = String::new();
    for value in values.iter().take(3) {
        // Writing to a String does not fail.
        let _ = write!(shown, " {:?}", value.chars().take(MAX_SHOWN).collect::<String>());
    }
    Err(format!("fits no pattern:{shown}"))
}

/// A value as part of a user's name, without the signs that separate it from the others.
fn named(value: &Value, mut separators: impl Iterator<Item = char>) -> Result<String, String> {
    let text = text(value).ok_or("is a list or an object, and a user's name needs a single value")?;
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) || text.contains('*') {
        return Err("is empty, or has a *, a control character or blanks at an end".to_owned());
    }
    match separators.find(|sign| text.contains(*sign)) {
        Some(sign) => Err(format!("has a {sign}, which stands between the claims in the user's name")),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(claims: &Value, user: &str) -> OidcProvider {
        serde_json::from_value(json!({"name": "x", "claims": claims, "user": user})).unwrap()
    }

    #[test]
    fn a_claim_is_a_single_value_or_a_list_with_one_that_fits() {
        let config = provider(&json!({"c": ["a*", "7", "true"]}), "{sub}");
        let admitted = |claim: Value| user(&config, &json!({"sub": "s", "c": claim})).is_ok();
        for value in [json!("a"), json!("a/b"), json!(7), json!(true), json!(["z", "ab"]), json!([{}, 7])] {
            assert!(admitted(value.clone()), "{value}");
        }
        for value in [
            json!("b"),
            json!("A"),
            json!(""),
            json!(7.5),
            json!(false),
            json!([]),
            json!([["a"]]),
            json!([{"c": "a"}]),
            json!({"c": "a"}),
            json!({"a": "a"}),
            Value::Null,
        ] {
            assert!(!admitted(value.clone()), "{value}");
        }
        assert!(user(&config, &json!({"sub": "s"})).is_err());
    }

    #[test]
    fn a_pointer_leads_into_a_claim_and_a_name_does_not() {
        let claims = json!({"kubernetes.io": {"namespace": "ci", "a/b": "x"}, "a/b": "y", "sub": "s"});
        let cases = [("/kubernetes.io/namespace", "ci", true), ("/kubernetes.io/a~1b", "x", true), ("a/b", "y", true)];
        for (path, value, fits) in cases {
            let config = provider(&json!({path: [value]}), "{sub}");
            assert_eq!(user(&config, &claims).is_ok(), fits, "{path}");
        }
        for path in ["kubernetes.io", "kubernetes.io/namespace", "kubernetes.io.namespace", "/kubernetes.io", "/no"] {
            assert!(user(&provider(&json!({path: ["*"]}), "{sub}"), &claims).is_err(), "{path}");
        }
    }

    #[test]
    fn a_name_says_which_value_each_claim_had() {
        let config = provider(&json!({"repository": ["*"], "ref": ["*"]}), "{repository}@{ref}");
        let name =
            |repository: Value, reference: Value| user(&config, &json!({"repository": repository, "ref": reference}));
        let main = json!("refs/heads/main");
        assert_eq!(name(json!("org/app"), main.clone()).unwrap(), "x:org/app@refs/heads/main");
        assert_eq!(name(json!(7), json!(true)).unwrap(), "x:7@true");
        assert_eq!(name(json!("an app"), main.clone()).unwrap(), "x:an app@refs/heads/main");
        for odd in
            ["", " a", "a ", "a\n", "a\u{0}b", "a\u{85}", "*", "a*", "evil/app@refs/heads/main", &"a".repeat(250)]
        {
            assert!(name(json!(odd), main.clone()).is_err(), "{odd:?}");
            assert!(name(json!("org/app"), json!(odd)).is_err(), "{odd:?}");
        }
        for odd in [json!(["a"]), json!({"a": "b"}), Value::Null] {
            assert!(name(odd.clone(), main.clone()).is_err(), "{odd}");
        }
    }
}
