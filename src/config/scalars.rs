//! Booleans and numbers, from the text of a scalar.
//!
//! pounce reads all that distribution does, in a file and in a variable: its parser (gopkg.in/yaml.v2) knows YAML 1.1,
//! and its storage drivers parse texts once more. So quotes never matter.

use serde_json::Number;

/// YAML 1.1's booleans, and those of Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// Whole numbers as Go reads them with a base of 0, with `_` between digits; and floats that are whole.
pub(super) fn integer(text: &str) -> Option<Number> {
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
