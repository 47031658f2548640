//! `catalog` and `tags`: the page sizes of lists.

use serde::{Deserialize, Deserializer, Serialize};

/// `catalog`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// The most repositories on a page, whatever `n` is. Without `n`, a page has 100, or this if it is less.
    #[serde(deserialize_with = "entries")]
    pub maxentries: usize,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { maxentries: 1000 }
    }
}

/// Zero or less means the default, as in distribution.
fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let written = i64::deserialize(deserializer)?;
    let entries = usize::try_from(written).ok().filter(|entries| *entries > 0);
    Ok(entries.unwrap_or(Catalog::default().maxentries))
}

/// `tags`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tags {
    /// The most tags on a page, whatever `n` is; 0 means the default.
    #[serde(deserialize_with = "tags")]
    pub maxtags: usize,
}

impl Tags {
    /// distribution has 1000, but only for requests with `n`: without, it lists all tags.
    const MAX: usize = 10_000;
}

impl Default for Tags {
    fn default() -> Self {
        Self { maxtags: Self::MAX }
    }
}

/// Bounded, because a page is built in memory.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let written = usize::deserialize(deserializer)?;
    Ok(if written == 0 { Tags::MAX } else { written.min(Tags::MAX) })
}
