//! What the bucket has, for its operator (`pounce ls`, `pounce du`): repositories, their images, and what they take.
//!
//! Only lists and small objects are read: a list of 1,000 keys a request, a GET for each link and manifest of the one
//! repository that is asked for, and none for figures of all of them. One repository at a time is in memory, however
//! many there are. What cannot be read is an entry that says why.

mod images;
mod key_pages;
mod links;
mod overview;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::oci::{Digest, MediaType, RepositoryName};
use crate::store::{Key, Store, StoreError};

use super::cache::Origin;
use super::provenance::Provenance;
use super::pulls::PullHistory;

pub(super) use links::told;

/// Reads the bucket for its operator.
#[derive(Debug)]
pub struct Inventory {
    pub(super) store: Store,
    pub(super) provenance: Arc<Provenance>,
}

/// How far back pulls are looked for.
const PULLS: Duration = Duration::from_hours(30 * 24);

/// When manifests were pulled in the last 30 days, as far as that was recorded.
#[derive(Debug)]
pub struct RecentPulls(PullHistory);

impl RecentPulls {
    /// Since when all pulls are known.
    #[must_use]
    pub const fn recorded_since(&self) -> SystemTime {
        self.0.recorded_since()
    }
}

impl Inventory {
    /// Reads when manifests were pulled: a request for each record of an hour.
    ///
    /// # Errors
    /// The bucket does not answer.
    pub async fn pulls(&self) -> Result<RecentPulls, StoreError> {
        // The answer tells the bucket's clock.
        self.store.exists(Key::GcState).await?;
        let now = self.store.bucket_time();
        let oldest = now.checked_sub(PULLS).unwrap_or(SystemTime::UNIX_EPOCH);
        PullHistory::read(&self.store, now, oldest).await.map(RecentPulls)
    }
}

/// Why the images of a repository are not listed.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The bucket does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is too large.
    #[error(
        "{name} has more than {most} links to tags, manifests and blobs, too many to compare: pounce du has its totals"
    )]
    TooMany {
        /// Its name.
        name: RepositoryName,
        /// How many it may have.
        most: usize,
    },
}

/// Where content came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client pushed it.
    Push,
    /// It was copied from this upstream; empty where the link does not say which.
    Upstream(String),
}

/// A repository in the bucket.
#[derive(Clone, Debug)]
pub struct RepositoryEntry {
    /// Its name, which may be none where another program wrote it.
    pub name: String,
    /// How many tags it has.
    pub tags: u64,
    /// How many manifests.
    pub manifests: u64,
    /// How many blobs, without manifests.
    pub blobs: u64,
    /// Where its first tag came from, or without tags, its first manifest; a push, if anything in it was pushed.
    pub source: Option<Source>,
    /// When the bucket wrote the latest of its links.
    pub written: Option<SystemTime>,
    /// When one of its manifests was last pulled, where that is known.
    pub pulled: Option<SystemTime>,
    /// Why not everything of it could be read.
    pub error: Option<String>,
}

/// A manifest with a tag, or one that no index of the repository names.
#[derive(Clone, Debug)]
pub struct ImageEntry {
    /// A tag that names it, if one does.
    pub tag: Option<String>,
    /// Its digest, where the tag's link has one.
    pub digest: Option<Digest>,
    /// Its media type, where it could be read.
    pub media_type: Option<MediaType>,
    /// Where it came from.
    pub source: Option<Source>,
    /// When the bucket wrote the tag's link, or without a tag, the manifest's.
    pub written: Option<SystemTime>,
    /// When it, or an image of it, was last pulled, where that is known.
    pub pulled: Option<SystemTime>,
    /// The bytes that the bucket has of it: manifests and blobs, each once.
    pub size: u64,
    /// Those of them that no other image of the repository has.
    pub own: u64,
    /// Its images, if it is an index; otherwise itself, unless it is no image.
    pub platforms: Vec<PlatformEntry>,
    /// Why it, or a part of it, could not be read.
    pub error: Option<String>,
}

/// An image of an index.
#[derive(Clone, Debug)]
pub struct PlatformEntry {
    /// As in `linux/amd64`, where it says one.
    pub platform: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The bytes that the bucket has of it.
    pub size: u64,
    /// Whether the repository has its manifest.
    pub is_stored: bool,
}

impl Source {
    fn new(origin: Origin, label: Option<&str>) -> Self {
        match origin {
            Origin::Pushed => Self::Push,
            Origin::Upstream => Self::Upstream(label.unwrap_or_default().to_owned()),
        }
    }
}
