//! What each repository took at the last round, as the bucket keeps it for the page.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::report::Amount;
use super::survey::Survey;
use crate::store::{Condition, Key, Store, StoreError};

/// How many repositories are written: those that take most. Each has some 120 bytes.
const REPOSITORIES: usize = 20_000;
/// The most bytes that are read.
const MAX: u64 = 16 << 20;
const VERSION: u32 = 1;

/// What repositories took when the bucket was last surveyed.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When that was.
    pub at: SystemTime,
    /// All blobs, and bytes of manifests.
    pub all: Amount,
    /// Of repositories by their names; not of all, where there are very many.
    pub repositories: HashMap<String, RepositoryFigures>,
}

/// What a repository took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RepositoryFigures {
    /// How many tags.
    pub tags: u64,
    /// How many manifests.
    pub manifests: u64,
    /// The bytes that only it needs.
    pub own: u64,
    /// Those that others need, too.
    pub shared: u64,
}

#[derive(Deserialize, Serialize)]
struct Written {
    version: u32,
    at: String,
    all: Amount,
    repositories: HashMap<String, RepositoryFigures>,
}

impl Figures {
    /// The last figures; `None` if there are none.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry) async fn read(store: &Store) -> Result<Option<Self>, StoreError> {
        let object = match store.get_up_to(Key::GcFigures, MAX).await {
            Ok(object) => object,
            // They are made again by the next round.
            Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let written = object.and_then(|object| serde_json::from_slice::<Written>(&object.bytes).ok());
        Ok(written.filter(|it| it.version == VERSION).and_then(|written| {
            let at = humantime::parse_rfc3339(&written.at).ok()?;
            Some(Self { at, all: written.all, repositories: written.repositories })
        }))
    }

    /// Writes those of a survey. A round does not fail for them.
    pub(super) async fn write(store: &Store, survey: &Survey) {
        let (totals, mut repositories) = (survey.totals(), Vec::from_iter(survey.repositories()));
        repositories.sort_by_key(|it| std::cmp::Reverse(it.own.bytes.saturating_add(it.shared.bytes)));
        repositories.truncate(REPOSITORIES);
        let repositories = repositories.into_iter().map(|it| {
            let (own, shared) = (it.own.bytes, it.shared.bytes);
            (it.name.to_string(), RepositoryFigures { tags: it.tags, manifests: it.manifests, own, shared })
        });
        let written = Written {
            version: VERSION,
            at: humantime::format_rfc3339_seconds(store.bucket_time()).to_string(),
            all: Amount { count: totals.blobs.count, bytes: totals.blobs.bytes },
            repositories: repositories.collect(),
        };
        // Texts and numbers always serialize.
        let bytes = Bytes::from(serde_json::to_vec(&written).unwrap_or_default());
        if let Err(error) = store.swap(Key::GcFigures, bytes, Condition::Always).await {
            tracing::debug!(%error, "what repositories take was not written");
        }
    }
}
