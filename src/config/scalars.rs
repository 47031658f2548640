//! From texts to the types of settings.
//!
//! What distribution reads as a number or a boolean is read so here, in a file and in a variable, and some more: its
//! parser (gopkg.in/yaml.v2) knows YAML 1.1, and its storage drivers parse texts once more. So quotes never matter.

use serde_json::{Number, Value};

use super::keys::{Key, Keys};
use super::{ConfigError, durations};

/// The durations that distribution takes as a number too. A number of seconds that is taken for nanoseconds would do
/// more harm elsewhere: uploads would be abandoned at once.
const IN_NANOSECONDS: [&str; 2] = ["draintimeout", "lifetime"];

/// Gives every setting of a document its type, and takes out those that say nothing, so that their defaults count;
/// below `auth` these stay, and are mistakes.
///
/// # Errors
/// A setting cannot be read as its type. Its value is not repeated: it may be a secret.
pub(super) fn convert(
    node: &mut Value,
    keys: &Keys,
    path: &mut Vec<String>,
    notices: &mut Vec<String>,
) -> Result<(), ConfigError> {
    match node {
        Value::Object(section) => {
            for (key, child) in section.iter_mut() {
                path.push(key.clone());
                one(child, keys, path, notices)?;
                path.pop();
            }
            // A rule that loses what it is about would be about everything.
            if path.first().is_none_or(|first| first != "auth") {
                section.retain(|_, child| !child.is_null());
            }
        }
        Value::Array(list) => {
            for (index, child) in list.iter_mut().enumerate() {
                path.push(index.to_string());
                one(child, keys, path, notices)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

fn one(node: &mut Value, keys: &Keys, path: &mut Vec<String>, notices: &mut Vec<String>) -> Result<(), ConfigError> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let default = match keys.find(&parts) {
        Key::Setting(default) => default,
        Key::Section(_) | Key::List => return convert(node, keys, path, notices),
        Key::Free => {
            if let Value::Object(headers) = node {
                headers.values_mut().for_each(values);
            }
            return Ok(());
        }
        // They are out already.
        Key::Ignored(_) | Key::Refused(_) | Key::Unknown(_) => return Ok(()),
    };
    // In a template whose variable is missing. A registry that was meant to be closed does not open because of it.
    let says_nothing = node.as_str() == Some("") && parts.first() != Some(&"auth");
    let wrong = |message: &str| ConfigError::value(parts.join("."), message);
    *node = match (default, node.take()) {
        (_, Value::Null) => Value::Null,
        (_, Value::String(_)) if says_nothing => Value::Null,
        (Value::Bool(_), Value::String(text)) => {
            let found = boolean(&text).map(Value::Bool);
            found.ok_or_else(|| wrong("write true or false"))?
        }
        (Value::Number(_), Value::String(text)) => {
            let found = integer(&text).map(Value::Number);
            found.ok_or_else(|| wrong("write a whole number"))?
        }
        (Value::Array(_), list @ Value::Array(_)) => list,
        (default, Value::String(text)) => {
            let is_duration = default.as_str().is_some_and(durations::is_one);
            if is_duration && durations::is_in_nanoseconds(&text) {
                if !parts.last().is_some_and(|key| IN_NANOSECONDS.contains(key)) {
                    return Err(wrong("a duration needs a unit, as in 60s, 20m or 168h"));
                }
                notices.push(format!(
                    "{}: a number without a unit is nanoseconds, as distribution reads it; write 60s",
                    parts.join(".")
                ));
            }
            Value::String(text)
        }
        (Value::Array(_), _) => return Err(wrong("write a list of single values")),
        (_, _) => return Err(wrong("write a single value, no list and no mapping")),
    };
    Ok(())
}

/// The values of a header: a single one is a list of one.
fn values(node: &mut Value) {
    match node {
        Value::Null => *node = Value::Array(Vec::new()),
        Value::String(_) => *node = Value::Array(vec![node.take()]),
        // An empty text, to distribution.
        Value::Array(list) => {
            list.iter_mut().filter(|value| value.is_null()).for_each(|value| *value = Value::String(String::new()))
        }
        _ => {}
    }
}

/// YAML 1.1's booleans, and those of Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// Whole numbers as Go reads them with a base of 0, with `_` between digits; and floats that are whole.
fn integer(text: &str) -> Option<Number> {
    let plain = text.trim().replace('_', "").to_ascii_lowercase();
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let based = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)];
    let based = based.iter().find_map(|(prefix, base)| {
        let rest = digits.strip_prefix(prefix)?;
        let all = !rest.is_empty() && rest.chars().all(|c| c.is_digit(*base));
        all.then(|| i128::from_str_radix(rest, *base).ok()).flatten()
    });
    let size = match based {
        Some(size) => size,
        None => digits.parse().ok().or_else(|| whole(digits))?,
    };
    let value = if negative { -size } else { size };
    Number::from_i128(value)
}

/// `1e6` and `5242880.0`, as far as a float counts by ones.
fn whole(text: &str) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = text.parse::<f64>().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_yaml_1_1_and_more() {
        let cases = [
            ("5242880", 5_242_880),
            ("0x500000", 5_242_880),
            ("0X10", 16),
            ("5_242_880", 5_242_880),
            ("010", 8),
            ("0o10", 8),
            ("0b101", 5),
            ("089", 89),
            ("1e6", 1_000_000),
            ("1E+6", 1_000_000),
            ("5242880.0", 5_242_880),
            ("+7", 7),
            ("-7", -7),
            (" 7 ", 7),
            ("0", 0),
        ];
        for (text, value) in cases {
            assert_eq!(integer(text), Some(Number::from(value)), "{text}");
        }
        assert_eq!(integer("18446744073709551615"), Some(Number::from(u64::MAX)));
        let none = [
            "",
            " ",
            "x",
            "1.5",
            "0x",
            "0xg",
            "--1",
            "+-1",
            "1e400",
            "inf",
            "nan",
            "10Mi",
            "1 0",
            "99999999999999999999999999",
            "0x-5",
            "_",
        ];
        for text in none {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
