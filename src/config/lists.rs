//! Settings that are lists of single values. A variable may hold one: `10.0.0.0/8,fd00::/8`.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A sequence of texts, or one text with commas between them.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "write a list of texts, or texts with commas between them"
    )]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let texts = match Option::<Written>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Written::List(texts)) => texts,
        Some(Written::Text(text)) => text.split(',').map(str::to_owned).collect(),
    };
    let texts = texts.iter().map(|text| text.trim());
    texts
        .filter(|text| !text.is_empty())
        .map(|text| {
            let wrong = |error| D::Error::custom(format_args!("{text}: {error}"));
            text.parse().map_err(wrong)
        })
        .collect()
}
