//! Settings that are lists of single values. A single text may hold several: `10.0.0.0/8,fd00::/8`.

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
    Ok(written(deserializer)?.unwrap_or_default())
}

/// A list that may be left out or null, and otherwise is not empty.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    written(deserializer)?.map(not_empty).transpose()
}

fn written<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "write a list of texts, or texts with commas between them")]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let texts = match Option::<Written>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Written::List(texts)) => texts,
        Some(Written::Text(text)) => text.split(',').map(str::to_owned).collect(),
    };
    let parsed = texts.iter().map(|text| text.trim()).map(|text| {
        // It comes from a template whose variable is missing. Without it, the list would mean something else.
        if text.is_empty() {
            return Err(D::Error::custom("an element of the list is empty"));
        }
        text.parse().map_err(|error| D::Error::custom(format_args!("{text}: {error}")))
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

/// A list that may be left out, and otherwise is neither null nor empty.
pub(super) fn some<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    not_empty(list(deserializer)?).map(Some)
}

fn not_empty<T, E: serde::de::Error>(found: Vec<T>) -> Result<Vec<T>, E> {
    if found.is_empty() {
        return Err(E::custom("the list is empty: leave it out, or say what it is about"));
    }
    Ok(found)
}
