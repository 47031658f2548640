//! How long a page of a list is.

use serde::{Deserialize, Deserializer, Serialize};

/// `catalog`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// The most repositories of a page, whatever `n` says. Without `n`, a page has 100, or this if it is less.
    #[serde(deserialize_with = "entries")]
    pub maxentries: usize,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { maxentries: 1000 }
    }
}

/// As distribution: zero or less means the default.
fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let written = i64::deserialize(deserializer)?;
    let entries = usize::try_from(written).ok().filter(|entries| *entries > 0);
    Ok(entries.unwrap_or(Catalog::default().maxentries))
}

/// `tags`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tags {
    /// The most tags of a page, whatever `n` says; 0 is the default.
    #[serde(deserialize_with = "tags")]
    pub maxtags: usize,
}

impl Tags {
    /// distribution has 1000, but only where a client names `n`: without, it lists all of them.
    const MAX: usize = 10_000;
}

impl Default for Tags {
    fn default() -> Self {
        Self { maxtags: Self::MAX }
    }
}

/// The list is made in memory, so that there is a bound to it.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let written = usize::deserialize(deserializer)?;
    Ok(if written == 0 { Tags::MAX } else { written.min(Tags::MAX) })
}
