//! What this process remembers. Everything here can be lost at any time, and is bounded.

mod blobs;
mod lists;

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;

use blobs::Blobs;
use lists::{List, Listed};

pub(super) use super::turns::Matter;
pub(super) use blobs::{KnownBlob, Member, Standing};

use super::holdings::Holding;
use super::staleness::Staleness;
use super::turns::Turns;

use crate::oci::{Descriptor, Digest, Error, Manifest, Reference, RepositoryName, Tag};

/// Manifests, in bytes of their content: some thousands as they are, and eight of the largest.
const MANIFEST_BYTES: u64 = 32 << 20;
/// A manifest for which room is made at once.
const LARGE: usize = 64 << 10;
const TAGS: u64 = 100_000;
/// Things that the upstream does not have.
const ABSENT: u64 = 100_000;
/// How long it is believed that the upstream does not have something.
const ABSENT_LIFE: Duration = Duration::from_secs(10);
/// How long it is believed that the bucket has something. Another replica may have deleted it.
const PRESENT_LIFE: Duration = Duration::from_mins(10);
/// Repositories, of which it is remembered whether anything was pushed to them.
const HOLDINGS: u64 = 20_000;
/// Where the upstream keeps blobs.
const LOCATIONS: u64 = 10_000;
/// How long clients are sent to such a place before the upstream is asked for another: long enough for a fleet that
/// starts at once, and a small part of the life of anybody's URLs.
const LOCATION_LIFE: Duration = Duration::from_secs(10);

/// A manifest or blob as a repository's own.
pub(super) type InRepository<T> = (RepositoryName, T);

/// What a tag means.
#[derive(Clone, Debug)]
pub(super) struct TagState {
    pub(super) digest: Digest,
    pub(super) origin: Origin,
    /// Until when it is served without asking anybody.
    pub(super) fresh_until: Instant,
    /// Why it is served without the upstream's word, where it is.
    pub(super) stale: Option<Staleness>,
}

/// A manifest, and whether somebody pulled it since it is here.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    manifest: Manifest,
    pulled: Arc<AtomicBool>,
}

/// Where an upstream has its clients fetch a blob.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// From itself.
    Upstream,
    /// From this URL.
    Elsewhere(Arc<str>),
}

/// Where a tag came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody pushed it here. It is never looked up upstream.
    Pushed,
    /// The upstream has it.
    Upstream,
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) manifests: Moka<InRepository<Digest>, Kept>,
    pub(super) tags: Moka<InRepository<Tag>, TagState>,
    /// Held while a tag's state is replaced.
    tag_lock: Mutex<()>,
    /// With the digest of the tag's link in the bucket, where the tag was stored when the upstream said that it is
    /// gone.
    pub(super) absent: Moka<InRepository<Reference>, Option<Digest>>,
    /// Manifests; of the same type as what is absent.
    pub(super) stored: Moka<InRepository<Reference>, Option<Digest>>,
    blobs: Blobs,
    locations: Moka<InRepository<Digest>, Location>,
    lists: Moka<Listed, List>,
    /// Whether repositories hold pushed content; see `holdings`.
    pub(super) holdings: Moka<RepositoryName, Holding>,
    turns: Turns,
}

impl Cache {
    /// `url_life` is how long a presigned URL lives, `min_age` how old a blob must be before clients get one.
    pub(super) fn new(url_life: Duration, min_age: Duration) -> Self {
        Self {
            manifests: Moka::builder()
                .max_capacity(MANIFEST_BYTES)
                .weigher(|_, kept: &Kept| weight(kept.manifest.bytes().len() + 256))
                .time_to_live(PRESENT_LIFE)
                .build(),
            tags: Moka::new(TAGS),
            tag_lock: Mutex::default(),
            absent: timed(ABSENT, ABSENT_LIFE),
            stored: timed(TAGS, PRESENT_LIFE),
            // A client gets at least half of a URL's life to begin its download.
            blobs: Blobs::new(url_life.mul_f64(0.45), min_age),
            locations: timed(LOCATIONS, LOCATION_LIFE),
            lists: lists::new(),
            holdings: timed(HOLDINGS, PRESENT_LIFE),
            turns: Turns::default(),
        }
    }

    pub(super) fn manifest(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        let kept = self.manifests.get(&(name.clone(), digest))?;
        Some(kept.manifest)
    }

    /// A manifest that somebody pulled already.
    pub(super) fn pulled_manifest(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        let kept = self.manifests.get(&(name.clone(), digest))?;
        kept.pulled.load(Ordering::Relaxed).then_some(kept.manifest)
    }

    /// Whether nobody pulled the manifest since it is here; once.
    pub(super) fn is_first_pull(&self, name: &RepositoryName, manifest: &Manifest) -> bool {
        let kept = self.manifests.get(&(name.clone(), manifest.digest()));
        // Looked at first: a write would be seen by every processor that serves the manifest.
        kept.is_some_and(|kept| !kept.pulled.load(Ordering::Relaxed) && !kept.pulled.swap(true, Ordering::Relaxed))
    }

    /// Remembers a manifest as the repository's, and some of its blobs with their sizes.
    pub(super) fn keep_manifest(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        blobs: &[Descriptor],
        standing: Standing,
    ) {
        for blob in blobs {
            self.keep_named(name, blob, standing);
        }
        let kept = Kept { manifest: manifest.clone(), pulled: Arc::default() };
        self.manifests.insert((name.clone(), manifest.digest()), kept);
        if manifest.bytes().len() > LARGE {
            // The cache makes room now and then only, and dozens of them could come meanwhile.
            self.manifests.run_pending_tasks();
        }
    }

    /// Whether the bucket is known to have a manifest, as this repository's.
    pub(super) fn is_stored(&self, name: &RepositoryName, digest: Digest) -> bool {
        self.stored.contains_key(&(name.clone(), Reference::Digest(digest)))
    }

    pub(super) fn keep_stored(&self, name: &RepositoryName, digest: Digest) {
        self.stored.insert((name.clone(), Reference::Digest(digest)), None);
    }

    pub(super) fn tag(&self, name: &RepositoryName, tag: &Tag) -> Option<TagState> {
        self.tags.get(&(name.clone(), tag.clone()))
    }

    pub(super) fn keep_tag(&self, name: &RepositoryName, tag: &Tag, state: TagState) {
        if state.origin == Origin::Pushed {
            self.keep_pushed(name);
        }
        let _lock = self.tag_lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.tags.insert((name.clone(), tag.clone()), state);
    }

    /// The same of what an upstream's tag means, unless it was pushed meanwhile: whether it is kept.
    pub(super) fn keep_upstream_tag(&self, name: &RepositoryName, tag: &Tag, state: TagState) -> bool {
        let _lock = self.tag_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let pushed = |known: TagState| known.origin == Origin::Pushed;
        if self.tag(name, tag).is_some_and(pushed) {
            return false;
        }
        self.tags.insert((name.clone(), tag.clone()), state);
        true
    }

    pub(super) fn is_absent(&self, name: &RepositoryName, reference: &Reference) -> bool {
        self.absent.contains_key(&(name.clone(), reference.clone()))
    }

    /// The same of a tag whose link in the bucket holds `stored`: one that came there since is another replica's word,
    /// and newer.
    pub(super) fn is_gone(&self, name: &RepositoryName, tag: &Tag, stored: Option<Digest>) -> bool {
        let key = (name.clone(), Reference::Tag(tag.clone()));
        let absent = self.absent.get(&key);
        absent.is_some_and(|then| stored.is_none() || then == stored)
    }

    /// The upstream says that a stored tag is gone.
    pub(super) fn keep_gone(&self, name: &RepositoryName, tag: &Tag, stored: Digest) {
        let key = (name.clone(), Reference::Tag(tag.clone()));
        self.absent.insert(key, Some(stored));
    }

    pub(super) fn keep_absent(&self, name: &RepositoryName, reference: &Reference) {
        let key = (name.clone(), reference.clone());
        self.absent.insert(key, None);
    }

    /// Where the upstream has its own clients fetch a blob.
    pub(super) fn location(&self, name: &RepositoryName, digest: &Digest) -> Option<Location> {
        self.locations.get(&(name.clone(), *digest))
    }

    pub(super) fn keep_location(&self, name: &RepositoryName, digest: &Digest, location: Location) {
        self.locations.insert((name.clone(), *digest), location);
    }

    /// See [`Turns::in_turn`].
    pub(super) fn in_turn<T>(
        &self,
        matter: Matter,
        work: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        self.turns.in_turn(matter, work)
    }

    /// See [`Turns::alone`].
    pub(super) fn alone<T>(&self, matter: Matter, work: impl Future<Output = T>) -> impl Future<Output = T> {
        self.turns.alone(matter, work)
    }
}

/// Sizes beyond 4 GiB do not occur; they would count as that.
fn weight(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn timed<K, V>(capacity: u64, life: Duration) -> Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Moka::builder().max_capacity(capacity).time_to_live(life).build()
}
