//! Names of repositories that the spec's expression does not allow, as Hugging Face has them, in a form that it allows.
//!
//! A component that the expression allows is written as it is. Any other one is escaped: the component in lower case,
//! `--x`, and a bit for each character, which is set where the original has another one. `Llama-3.2-1B` is
//! `llama-3.2-1b--x801`. The bits are in hexadecimal, the first character's first, without zeros at the end. A set bit
//! makes a letter upper case, and makes the digits 0, 1 and 2 the separators `.`, `_` and `-`, which stand for those in
//! places where the expression allows none.
//!
//! Every original has one escaped form, and every valid name stands for one original, so two repositories never share a
//! name. An original that looks escaped itself (`a--x8`) is written with `--x` and no bits behind it (`a--x8--x`).

use std::borrow::Cow;

use super::name::{NameError, RepositoryName};

const MARK: &str = "--x";

/// Reads a name with letters of both cases, digits, `.`, `_` and `-` in any order, in components that have a letter or
/// digit each. Components that the spec allows are taken as they are, escaped ones too.
///
/// # Errors
/// The text is no such name, or has more than [`RepositoryName::MAX_LEN`] characters once it is escaped.
pub fn parse_relaxed_name(text: &str) -> Result<RepositoryName, NameError> {
    if text.len() > RepositoryName::MAX_LEN {
        return Err(NameError::TooLong);
    }
    let escaped = text.split('/').map(|component| match component.parse::<RepositoryName>() {
        Ok(_) => Some(component.to_owned()),
        Err(_) => escape(component),
    });
    let escaped: Option<Vec<String>> = escaped.collect();
    let escaped = escaped.ok_or(NameError::Relaxed)?.join("/");
    escaped.parse().map_err(|_| NameError::EscapedTooLong)
}

/// The original of a name, or of the rest of a name from one of its slashes on: with its escaped components as they
/// were. It is one that [`parse_relaxed_name`] reads, so it has no empty component, no `.` and no `..`.
#[must_use]
pub fn original_name(name: &str) -> Cow<'_, str> {
    if !name.contains(MARK) {
        return name.into();
    }
    let originals = name.split('/').map(|component| unescape(component).map_or(component.into(), Cow::Owned));
    originals.collect::<Vec<Cow<'_, str>>>().join("/").into()
}

/// The name in lower case with its escapes taken off, which repositories whose originals differ in case share; `None`
/// if nothing of it is escaped.
#[must_use]
pub fn unmarked_name(name: &str) -> Option<String> {
    let unmarked = |component: &str| {
        let is_escaped = unescape(component).is_some();
        let plain = component.rsplit_once(MARK).filter(|_| is_escaped).map(|(plain, _)| plain);
        plain.unwrap_or(component).to_owned()
    };
    let is_escaped = name.contains(MARK) && original_name(name) != name;
    is_escaped.then(|| name.split('/').map(unmarked).collect::<Vec<_>>().join("/"))
}

/// A component as it is stored; `None` if it has other characters, or neither a letter nor a digit.
fn escape(original: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !original.bytes().all(is_allowed) || !original.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (plain, marks) = flatten(original);
    if plain == original && unescape(original).is_none() {
        return Some(plain);
    }
    let nibble = |bits: &[bool]| bits.iter().zip([8, 4, 2, 1]).filter(|(set, _)| **set).map(|(_, bit)| bit).sum();
    let digits = marks.chunks(4).map(nibble).map(|value: u32| char::from_digit(value, 16).unwrap_or('0'));
    let digits: String = digits.collect();
    Some(format!("{plain}{MARK}{}", digits.trim_end_matches('0')))
}

/// The original of an escaped component; `None` if it is not what [`escape`] makes of that.
fn unescape(stored: &str) -> Option<String> {
    let (plain, digits) = stored.rsplit_once(MARK)?;
    let nibbles: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let nibbles = nibbles?;
    let is_marked = |at: usize| nibbles.get(at / 4).is_some_and(|nibble| nibble & (8 >> (at % 4)) != 0);
    let restore = |(at, c): (usize, char)| match c {
        _ if !is_marked(at) => c,
        '0' => '.',
        '1' => '_',
        '2' => '-',
        _ => c.to_ascii_uppercase(),
    };
    let original: String = plain.chars().enumerate().map(restore).collect();
    // Bits that mean nothing, zeros at the end, and the like. Each round is shorter by the mark, so it ends.
    (escape(&original)? == stored).then_some(original)
}

/// A component that the spec allows, and where it differs from the original.
fn flatten(original: &str) -> (String, Vec<bool>) {
    let (mut plain, mut marks) = (String::new(), Vec::new());
    let runs = original.as_bytes().chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric());
    for run in runs {
        let (start, end) = (marks.len(), marks.len() + run.len());
        let is_inside = start > 0 && end < original.len();
        let is_separator = matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
        for &byte in run {
            let flat = match byte {
                b'.' | b'_' | b'-' if is_inside && is_separator => byte,
                b'.' => b'0',
                b'_' => b'1',
                b'-' => b'2',
                _ => byte.to_ascii_lowercase(),
            };
            plain.push(char::from(flat));
            marks.push(flat != byte);
        }
    }
    (plain, marks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, NameError> {
        parse_relaxed_name(text).map(|name| name.to_string())
    }

    proptest! {
        /// So two originals never have the same escaped form.
        #[test]
        fn an_original_comes_back(text in "[aAbB01x._-]{0,12}(--x[0-9a-f]{0,3}){0,3}") {
            let escaped = escape(&text);
            prop_assert_eq!(escaped.is_some(), text.contains(|c: char| c.is_ascii_alphanumeric()));
            if let Some(escaped) = escaped {
                prop_assert!(escaped.parse::<RepositoryName>().is_ok(), "{}", escaped);
                prop_assert_eq!(original_name(&escaped), text);
            }
        }

        /// So two valid names never have the same original.
        #[test]
        fn a_valid_component_comes_back(text in "[a0-2x]{1,4}([._-]?[a-b0-2]{1,3}){0,3}(--x[0-9a-f]{0,4}){0,3}") {
            prop_assert_eq!(escape(&original_name(&text)), Some(text));
        }

        #[test]
        fn any_text_can_be_tried(text in "[aA0._/-]{0,20}|.{0,20}") {
            if let Ok(name) = parse_relaxed_name(&text) {
                let original = original_name(name.as_str());
                prop_assert_eq!(parse_relaxed_name(&original), Ok(name.clone()));
                prop_assert!(original.split('/').all(|it| it.contains(|c: char| c.is_ascii_alphanumeric())));
                prop_assert_eq!(parse_relaxed_name(name.as_str()), Ok(name));
            }
        }
    }

    #[test]
    fn names_of_the_field_are_escaped() {
        for (original, escaped) in [
            ("library/app", "library/app"),
            ("bartowski/Llama-3.2-1B-Instruct-GGUF", "bartowski/llama-3.2-1b-instruct-gguf--x801403c"),
            ("A/a", "a--x8/a"),
            ("a/A", "a/a--x8"),
            ("Qwen/Qwen2.5_-_7B", "qwen--x8/qwen2.51217b--x81d"),
            ("_init_/a..b", "1init1--x84/a00b--x6"),
        ] {
            assert_eq!(read(original).as_deref(), Ok(escaped));
            assert_eq!(original_name(escaped), original);
        }
        assert_eq!(unmarked_name("hf.co/a--x8/b").as_deref(), Some("hf.co/a/b"));
        assert_eq!((unmarked_name("hf.co/a/b"), unmarked_name("a--x4/b")), (None, None));
        // Not what an original is escaped to.
        for literal in ["a--x", "a--x4", "a--x80", "a--x08", "1--x8", "a--xg", "a---x8", "--x8"] {
            assert_eq!(original_name(literal), literal);
        }
        assert_eq!(original_name("a--x8--x"), "a--x8");
        assert_eq!(original_name("a--x8--x8"), "A--x8");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for text in
            ["", "/", "A/", "/A", "A//b", "A/..", "A/.", "A/-", "A b", "A%2fb", "A\0", "Ä", "A:b", "A@b", "A\\b"]
        {
            assert_eq!(read(text), Err(NameError::Relaxed), "{text:?}");
        }
        assert_eq!(read(&"A".repeat(256)), Err(NameError::TooLong));
        assert_eq!(read(&"A".repeat(203)), Err(NameError::EscapedTooLong));
        assert_eq!(read(&"A".repeat(200)).map(|name| name.len()), Ok(253));
    }
}
