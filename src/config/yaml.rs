//! YAML, with its scalars as they are written.
//!
//! distribution's parser keeps the text of a scalar where a setting is a text, whatever else that text could be: `on`,
//! `0x10`, `1.10` and `2026-01-01` may all be passwords. So a scalar is a text here, and becomes a number or a boolean
//! only where a setting is one.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::{NonFiniteFloatPolicy, Options, Spanned};

use super::ConfigError;

/// Parses a document into mappings, lists, texts and nulls.
///
/// # Errors
/// It is not YAML; `origin` is the file or the variable that it stands in.
pub(super) fn parse(origin: &str, text: &str) -> Result<Value, ConfigError> {
    let mut options = Options::default();
    // Without the lines around the mistake: a secret may stand there.
    options.with_snippet = false;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    let node: Spanned<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError::Yaml {
            origin: origin.to_owned(),
            message: error.to_string(),
        })?;
    Ok(into_value(node, text))
}

enum Node {
    Null,
    /// Quoted, or nothing but a text.
    Text(String),
    /// A number or a boolean, which lost its spelling.
    Parsed(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

/// `text` is the document.
fn into_value(node: Spanned<Node>, text: &str) -> Value {
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
            .map(|node| into_value(node, text))
            .collect(),
        Node::Map(map) => {
            let pairs = map.into_iter();
            let pairs = pairs.map(|(key, node)| (key, into_value(node, text)));
            Value::Object(pairs.collect())
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
            let list = format!(
                "# \u{e9}\nk: [\"\u{e9}\", {text} , {text}] # x\nb:\n  - {text}\nc: {text}"
            );
            let expected = json!({"k": ["\u{e9}", text, text], "b": [text], "c": text});
            assert_eq!(parse("", &list).unwrap(), expected, "{text}");
            assert_eq!(parse("", text).unwrap(), json!(text));
        }
    }

    #[test]
    fn the_rest_of_yaml_is_yaml() {
        let text = "a: &x {p: 0x1, q: ~}\nb: *x\nc: {<<: *x, r: \"~\"}\nd:\ne: null\nf: |\n  1\n  2\ng: '1'";
        let expected = json!({
            "a": {"p": "0x1", "q": null}, "b": {"p": "0x1", "q": null}, "c": {"p": "0x1", "q": null, "r": "~"},
            "d": null, "e": null, "f": "1\n2\n", "g": "1",
        });
        assert_eq!(parse("", text).unwrap(), expected);
        assert_eq!(parse("", "# nothing").unwrap(), Value::Null);
        for wrong in ["a: [", "a: 1\na: 2", "*x"] {
            parse("", wrong).unwrap_err();
        }
    }
}
