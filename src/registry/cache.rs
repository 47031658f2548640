//! What this process remembers. Everything here can be lost at any time, and is bounded.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::oci::{Digest, Manifest, Reference, RepositoryName, Tag};

/// Manifests, in bytes of their content.
const MANIFEST_BYTES: u64 = 64 << 20;
/// Blobs of which something is known; an entry is some 200 bytes.
const BLOBS: u64 = 500_000;
const TAGS: u64 = 100_000;
/// Things that the upstream does not have.
const ABSENT: u64 = 100_000;
/// How long it is believed that the upstream does not have something.
const ABSENT_LIFE: Duration = Duration::from_secs(10);
/// How long it is believed that the bucket has a blob. Another replica may have deleted it.
const PRESENT_LIFE: Duration = Duration::from_mins(10);
/// How long the upstream's list of tags is kept, for clients that read it page by page.
const TAG_LIST_LIFE: Duration = Duration::from_secs(30);
const TAG_LISTS: u64 = 1000;

/// A manifest or blob as a repository's own.
type InRepository<T> = (RepositoryName, T);

/// What a tag means.
#[derive(Clone, Debug)]
pub(super) struct TagState {
    pub(super) digest: Digest,
    pub(super) origin: Origin,
    /// Until when it is served without asking anybody.
    pub(super) fresh_until: Instant,
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
    manifests: Moka<InRepository<Digest>, Manifest>,
    tags: Moka<InRepository<Tag>, TagState>,
    absent: Moka<InRepository<Reference>, ()>,
    members: Moka<InRepository<Digest>, u64>,
    present: Moka<Digest, u64>,
    urls: Moka<(Digest, Arc<str>), Arc<str>>,
    tag_lists: Moka<RepositoryName, Arc<Vec<Tag>>>,
    turns: Moka<InRepository<Reference>, Arc<Mutex<()>>>,
}

impl Cache {
    /// `url_life` is how long a presigned URL lives.
    pub(super) fn new(url_life: Duration) -> Self {
        Self {
            manifests: Moka::builder()
                .max_capacity(MANIFEST_BYTES)
                .weigher(|_, manifest: &Manifest| {
                    u32::try_from(manifest.bytes().len() + 256).unwrap_or(u32::MAX)
                })
                .build(),
            tags: Moka::new(TAGS),
            absent: timed(ABSENT, ABSENT_LIFE),
            members: Moka::new(BLOBS),
            present: timed(BLOBS, PRESENT_LIFE),
            // A client gets at least half of a URL's life to begin its download.
            urls: timed(BLOBS, url_life.mul_f64(0.45)),
            tag_lists: timed(TAG_LISTS, TAG_LIST_LIFE),
            turns: Moka::builder()
                .max_capacity(TAGS)
                .time_to_idle(Duration::from_mins(5))
                .build(),
        }
    }

    pub(super) fn manifest(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        self.manifests.get(&(name.clone(), digest))
    }

    /// Remembers a manifest as the repository's, and its blobs as members with their sizes.
    pub(super) fn keep_manifest(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        blobs: &[crate::oci::Descriptor],
    ) {
        for blob in blobs {
            self.keep_member(name, *blob.digest(), blob.size());
        }
        self.manifests
            .insert((name.clone(), manifest.digest()), manifest.clone());
    }

    pub(super) fn tag(&self, name: &RepositoryName, tag: &Tag) -> Option<TagState> {
        self.tags.get(&(name.clone(), tag.clone()))
    }

    pub(super) fn keep_tag(&self, name: &RepositoryName, tag: &Tag, state: TagState) {
        self.tags.insert((name.clone(), tag.clone()), state);
    }

    pub(super) fn is_absent(&self, name: &RepositoryName, reference: &Reference) -> bool {
        self.absent.contains_key(&(name.clone(), reference.clone()))
    }

    pub(super) fn keep_absent(&self, name: &RepositoryName, reference: &Reference) {
        self.absent.insert((name.clone(), reference.clone()), ());
    }

    /// The size of a blob that is known to be in the repository, whether or not the bucket has it.
    pub(super) fn member(&self, name: &RepositoryName, digest: &Digest) -> Option<u64> {
        self.members.get(&(name.clone(), *digest))
    }

    pub(super) fn keep_member(&self, name: &RepositoryName, digest: Digest, size: u64) {
        self.members.insert((name.clone(), digest), size);
    }

    /// The size of a blob that is known to be in the bucket.
    pub(super) fn present(&self, digest: &Digest) -> Option<u64> {
        self.present.get(digest)
    }

    pub(super) fn keep_present(&self, digest: Digest, size: u64) {
        self.present.insert(digest, size);
    }

    /// A presigned URL with enough life left. `base` is empty where URLs do not depend on it.
    pub(super) fn url(&self, digest: &Digest, base: &Arc<str>) -> Option<Arc<str>> {
        self.urls.get(&(*digest, Arc::clone(base)))
    }

    pub(super) fn keep_url(&self, digest: Digest, base: Arc<str>, url: Arc<str>) {
        self.urls.insert((digest, base), url);
    }

    pub(super) fn tag_list(&self, name: &RepositoryName) -> Option<Arc<Vec<Tag>>> {
        self.tag_lists.get(name)
    }

    pub(super) fn keep_tag_list(&self, name: &RepositoryName, tags: Arc<Vec<Tag>>) {
        self.tag_lists.insert(name.clone(), tags);
    }

    /// Waits for one's turn to look a manifest up, so that many clients that ask for the same thing
    /// cause one lookup. Whoever gets a turn looks into the cache again.
    pub(super) async fn turn(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> OwnedMutexGuard<()> {
        let turn = self
            .turns
            .get_with((name.clone(), reference.clone()), Arc::default);
        turn.lock_owned().await
    }
}

fn timed<K, V>(capacity: u64, life: Duration) -> Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Moka::builder()
        .max_capacity(capacity)
        .time_to_live(life)
        .build()
}
