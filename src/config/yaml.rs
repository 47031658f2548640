//! YAML, with scalars as they are written.
//!
//! distribution's parser keeps the text of a scalar where a setting is a text, whatever else that text could be: `on`,
//! `0x10`, `1.10` and `2026-01-01` may all be passwords. So every scalar is a text here, and becomes a number or a
//! boolean only where a setting is one.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Spanned};

use super::error::ConfigError;
use super::origins::below;

/// Parses the first document of a text into mappings, lists, texts and nulls. Of repeated keys in a mapping the last
/// one counts, as in distribution, and a notice says so. `origin` is the file or the variable, for messages.
///
/// # Errors
/// The text is not YAML. The error has only the position, because the parser's messages repeat the text there.
pub(super) fn parse(origin: &str, text: &str, notices: &mut Vec<String>) -> Result<Value, ConfigError> {
    let text = first(text);
    let mut options = Options::default();
    // The lines around the mistake may hold a secret.
    options.with_snippet = false;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    // The parser passes repeated keys on, so that notices can name them.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location().map(|it| format!(", at line {}, column {}", it.line(), it.column()));
        let location = location.unwrap_or_default();
        ConfigError::Yaml {
            origin: origin.to_owned(),
            message: format!(
                "is not valid YAML{location}: look at the indentation, and quote texts with special characters"
            ),
        }
    })?;
    let mut repeated = Vec::new();
    let value = into_value(node, text, "", &mut repeated);
    let origin = if origin.is_empty() { String::new() } else { format!(" in {origin}") };
    notices.extend(
        repeated.into_iter().map(|path| format!("{path} is there more than once{origin}: the last one counts")),
    );
    Ok(value)
}

/// The first of the documents in a text. The others are ignored, as in distribution, and need not be YAML.
fn first(text: &str) -> &str {
    let mut begun = false;
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches('\u{feff}');
        let is_marker = |marker| {
            let rest = content.strip_prefix(marker);
            rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        let (starts, ends) = (is_marker("---"), is_marker("..."));
        if begun && (starts || ends) {
            return &text[..from];
        }
        let is_content = !content.trim().is_empty() && !content.trim_start().starts_with('#');
        begun |= starts || (is_content && !ends && !content.starts_with('%'));
        from += line.len();
    }
    text
}

enum Node {
    Null,
    /// Quoted, or not a number or a boolean.
    Text(String),
    /// A number or a boolean. The parser dropped its spelling.
    Parsed(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

/// `text` is the document, `path` the path of the node; `repeated` gets the paths of repeated keys.
fn into_value(node: Spanned<Node>, text: &str, path: &str, repeated: &mut Vec<String>) -> Value {
    let span = node.defined.span();
    match node.value {
        Node::Null => Value::Null,
        Node::Text(text) => Value::String(text),
        Node::Parsed(parsed) => {
            let written = || {
                let from = usize::try_from(span.byte_offset()?).ok()?;
                let len = usize::try_from(span.byte_len()?).ok()?;
                let written = text.get(from..from.checked_add(len)?)?.trim();
                (!written.is_empty()).then(|| written.to_owned())
            };
            Value::String(written().unwrap_or(parsed))
        }
        Node::List(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, node)| into_value(node, text, &below(path, &index.to_string()), repeated))
            .collect(),
        Node::Map(map) => {
            let mut section = serde_json::Map::new();
            for (key, node) in map {
                let path = below(path, &key);
                let value = into_value(node, text, &path, repeated);
                if section.insert(key, value).is_some() && !repeated.contains(&path) {
                    repeated.push(path);
                }
            }
            Value::Object(section)
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

macro_rules! parsed {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, value: $kind) -> Result<Node, E> {
            Ok(Node::Parsed(value.to_string()))
        })*
    };
}

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    parsed!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_stay_as_they_are_written() {
        let scalars = [
            "true",
            "Yes",
            "on",
            "n",
            "0x10",
            "010",
            "007",
            "1_000",
            "1e6",
            "1.10",
            "+5",
            "-0",
            "2026-01-01",
            "12:30:45",
            ".inf",
            "18446744073709551616",
            "a b",
            "10.0.0.0/8",
        ];
        for text in scalars {
            let list = format!("# \u{e9}\nk: [\"\u{e9}\", {text} , {text}] # x\nb:\n  - {text}\nc: {text}");
            let expected = json!({"k": ["\u{e9}", text, text], "b": [text], "c": text});
            assert_eq!(parse("", &list, &mut Vec::new()).unwrap(), expected, "{text}");
            assert_eq!(parse("", text, &mut Vec::new()).unwrap(), json!(text));
        }
    }

    #[test]
    fn the_rest_of_yaml_is_yaml() {
        let text = "a: &x {p: 0x1, q: ~}\nb: *x\nc: {<<: *x, r: \"~\"}\nd:\ne: null\nf: |\n  1\n  2\ng: '1'";
        let expected = json!({
            "a": {"p": "0x1", "q": null}, "b": {"p": "0x1", "q": null}, "c": {"p": "0x1", "q": null, "r": "~"},
            "d": null, "e": null, "f": "1\n2\n", "g": "1",
        });
        assert_eq!(parse("", text, &mut Vec::new()).unwrap(), expected);
        assert_eq!(parse("", "# nothing", &mut Vec::new()).unwrap(), Value::Null);
        for wrong in ["a: [", "*SECRET", "a: *SECRET", "\"SECRET\"x: [", "a: &", "a: SECRET: b"] {
            let error = parse("", wrong, &mut Vec::new()).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        let mut notices = Vec::new();
        let text = "a: SECRET1\nb: {c: [{d: 1, d: SECRET2, d: 3}]}\na: 2";
        let expected = json!({"a": "2", "b": {"c": [{"d": "3"}]}});
        assert_eq!(parse("f", text, &mut notices).unwrap(), expected);
        let said = |path| format!("{path} is there more than once in f: the last one counts");
        assert_eq!(notices, [said("b.c.0.d"), said("a")]);
        notices.clear();
        // A merged key is no second one.
        let text = "x: &x {a: 1, b: 1}\ny: {a: 2, <<: *x}";
        let expected = json!({"x": {"a": "1", "b": "1"}, "y": {"a": "2", "b": "1"}});
        assert_eq!(parse("", text, &mut notices).unwrap(), expected);
        assert!(notices.is_empty(), "{notices:?}");
    }

    #[test]
    fn the_first_document_counts() {
        for text in [
            "a: 1\n---\nb: 2",
            "---\na: 1\n---\nb: [",
            "# x\n---\na: 1\n...\n}}",
            "%YAML 1.1\n---\na: 1\r\n--- # x\r\nb: *c",
            "\u{feff}---\na: 1\n---\n",
            "--- {a: 1}\n--- {a: 2}",
            "a: 1\n---",
        ] {
            let value = parse("", text, &mut Vec::new()).unwrap();
            assert_eq!(value, json!({"a": "1"}), "{text}");
        }
        for (text, expected) in [
            ("---\n---\na: 1", Value::Null),
            ("a: ---", json!({"a": "---"})),
            ("a: |\n  ---\n  b\n", json!({"a": "---\nb\n"})),
            ("---x: 1", json!({"---x": "1"})),
        ] {
            assert_eq!(parse("", text, &mut Vec::new()).unwrap(), expected, "{text}");
        }
    }
}
