//! What the objects of a repository say: its tags' links, and its manifests that no earlier survey saw.
//!
//! - A tag whose link is gone since it was listed has none.
//! - A manifest whose bytes are gone (404 at the leader, too) is none; its link names nothing.
//! - Bytes that are no manifest, or have another digest, or more than 4 MiB, are **unreadable**: what they need
//!   is unknown. So nothing of the repository goes, and no blob of the whole bucket.
//! - A tag's link that holds no digest keeps its whole repository.
//! - Where the bucket does not answer, the survey ends.
//!
//! Only what pounce wrote to a link says that something came from an upstream. What distribution's cache left counts as
//! pushed: nothing tells it from what was pushed before, and it would be deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::error::SurveyError;
use super::known::{Known, MAX_NAMES};
use super::named::Named;
use super::needed::{Age, seconds};
use super::reader::{PARALLEL, Purpose, Reader};
use super::records::Records;
use super::repository::{Link, Repository};
use super::untagged::Untagged;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, RepositoryName, Tag};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::TagFacts;
use crate::registry::provenance::{revision_origin, tag_origin};
use crate::registry::runtime::buffered;
use crate::store::{Key, StoreError};

const MANIFEST_LIMIT: u64 = MAX_MANIFEST_BYTES as u64;
/// How many bytes of names are held at once for the memory of manifests. What does not fit is not remembered.
const LEARNED: usize = 24 << 20;
/// How many bytes of names are held of manifests that other repositories may have, too.
const SHARED: usize = 16 << 20;
/// How many bytes a manifest takes besides its names.
const OVERHEAD: usize = 256;

/// What a manifest's bytes are.
#[derive(Clone, Debug)]
enum Bytes {
    Manifest(Arc<Named>),
    Gone,
    Unreadable(String),
}

/// A manifest that a repository has.
#[derive(Clone, Debug)]
pub(super) struct ManifestContent {
    pub(super) linked: Option<SystemTime>,
    pub(super) origin: Origin,
    pub(super) subject: Option<Digest>,
    /// Since when it has had no tag.
    pub(super) untagged: Option<SystemTime>,
    /// The other manifests of the repository that it names.
    pub(super) children: Vec<Digest>,
}

/// A repository, read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) repository: Repository,
    /// Without those that have no link.
    pub(super) tags: BTreeMap<Tag, TagFacts>,
    pub(super) manifests: BTreeMap<Digest, ManifestContent>,
    /// Manifests whose bytes are gone.
    pub(super) gone: BTreeSet<Digest>,
    /// What cannot be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
    /// Manifests that cannot be read, among these.
    pub(super) unreadable_manifests: u64,
    /// What is to be remembered.
    pub(super) learned: Vec<(Digest, Known, Option<OwnedSemaphorePermit>)>,
}

/// Reads repositories.
pub(super) struct ContentReader {
    pub(super) reader: Arc<Reader>,
    pub(super) records: Arc<Records>,
    pub(super) age: Age,
    /// Manifests whose bytes were gone at the last survey: what is remembered of them does not count.
    gone: BTreeSet<Digest>,
    learned: Arc<Semaphore>,
    /// Manifests that were read, because other repositories may have them, too.
    shared: Mutex<HashMap<Digest, Arc<OnceCell<Bytes>>>>,
    shared_bytes: AtomicUsize,
}

/// What was read of one manifest.
struct Found {
    digest: Digest,
    link: Link,
    origin: Option<Origin>,
    untagged: Option<SystemTime>,
    named: Bytes,
    is_known: bool,
}

impl ContentReader {
    pub(super) fn new(reader: &Arc<Reader>, records: &Arc<Records>, age: Age, gone: BTreeSet<Digest>) -> Self {
        Self {
            reader: Arc::clone(reader),
            records: Arc::clone(records),
            age,
            gone,
            learned: Arc::new(Semaphore::new(LEARNED)),
            shared: Mutex::default(),
            shared_bytes: AtomicUsize::default(),
        }
    }

    /// Reads a repository; where its manifests came from only if `asks_origins`.
    pub(super) async fn read(&self, mut repository: Repository, asks_origins: bool) -> Result<Content, SurveyError> {
        let known = std::mem::take(&mut repository.known);
        let (tags, unreadable_tags) = self.tags(&repository).await?;
        let untagged = Untagged::new(&repository, &tags);
        let asks_origins = asks_origins && !repository.is_partial;
        let mut content = Content {
            tags,
            manifests: BTreeMap::new(),
            gone: BTreeSet::new(),
            unreadable: unreadable_tags,
            unreadable_manifests: 0,
            learned: Vec::new(),
            repository,
        };
        let work =
            (content.repository.first_manifest..).zip(&content.repository.revisions).map(|(n, it)| (n, *it.0, *it.1));
        let name = content.repository.name.clone();
        let read = |(number, digest, link): (u32, Digest, Link)| {
            self.manifest(&name, number, digest, link, known.get(&digest), asks_origins)
        };
        let mut found = buffered(PARALLEL, work.collect::<Vec<_>>(), read);
        while let Some(mut found) = found.try_next().await? {
            found.untagged = untagged.since(&found.digest, known.get(&found.digest), self.age.now);
            content.add(found, self);
        }
        drop(found);
        Ok(content)
    }

    async fn tags(
        &self,
        repository: &Repository,
    ) -> Result<(BTreeMap<Tag, TagFacts>, Vec<(String, String)>), SurveyError> {
        let (mut tags, mut unreadable) = (BTreeMap::new(), Vec::new());
        if repository.is_partial {
            return Ok((tags, unreadable));
        }
        let linked = repository.tags.iter().filter(|(_, links)| links.current.is_some());
        let linked: Vec<Tag> = linked.map(|(tag, _)| tag.clone()).collect();
        let name = repository.name.clone();
        let read = |tag: Tag| {
            let name = &name;
            async move {
                let link = self.reader.get(Purpose::Tag, Key::Tag(name, &tag), MANIFEST_LIMIT).await;
                (tag, link)
            }
        };
        let mut found = buffered(PARALLEL, linked, read);
        while let Some((tag, link)) = futures_util::StreamExt::next(&mut found).await {
            let cause = match link {
                Ok(None) => continue,
                Ok(Some(link)) => match link.digest() {
                    Some(digest) => {
                        let origin = tag_origin(&link, None);
                        // Without a time, it was written just now.
                        let modified = link.modified.unwrap_or(self.age.now);
                        tags.insert(tag, TagFacts { digest, modified, origin });
                        continue;
                    }
                    None => "it is not a digest".to_owned(),
                },
                Err(StoreError::Corrupt { cause, .. }) => cause,
                Err(error) => return Err(error.into()),
            };
            unreadable.push((Key::Tag(&name, &tag).to_string(), cause));
        }
        Ok((tags, unreadable))
    }

    async fn manifest(
        &self,
        name: &RepositoryName,
        number: u32,
        digest: Digest,
        mut link: Link,
        known: Option<&Known>,
        asks_origins: bool,
    ) -> Result<Found, SurveyError> {
        let known = known.filter(|_| !self.gone.contains(&digest));
        let mut origin = known.filter(|known| Some(known.linked) == seconds(link.modified)).and_then(|it| it.origin);
        let ask_origin = async {
            if origin.is_some() || !asks_origins {
                return Ok(None);
            }
            match self.reader.get(Purpose::Origin, Key::Revision(name, &digest), MANIFEST_LIMIT).await {
                Ok(link) => Ok(link),
                // Nothing says that it came from an upstream.
                Err(StoreError::Corrupt { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let named = async {
            match known {
                Some(known) => Ok(Bytes::Manifest(Arc::new(known.named.clone()))),
                None => self.bytes(digest).await,
            }
        };
        let (asked, named) = tokio::try_join!(ask_origin, named)?;
        if let Some(object) = asked {
            origin = Some(revision_origin(&object));
            link.modified = object.modified;
        }
        // What a manifest needs includes itself, also if it is unreadable.
        let digests = match &named {
            Bytes::Manifest(named) => Some(&named.digests),
            Bytes::Gone | Bytes::Unreadable(_) => None,
        };
        self.records.add_manifest(number, &digest, digests).await?;
        Ok(Found { digest, link, origin, untagged: None, named, is_known: known.is_some() })
    }

    /// The bytes of a manifest, read once for all repositories that have it.
    async fn bytes(&self, digest: Digest) -> Result<Bytes, StoreError> {
        let cell = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            if self.shared_bytes.load(Ordering::Relaxed) > SHARED {
                shared.clear();
                self.shared_bytes.store(0, Ordering::Relaxed);
            }
            Arc::clone(shared.entry(digest).or_default())
        };
        let read = async {
            let object = match self.reader.get(Purpose::Manifest, Key::Blob(&digest), MANIFEST_LIMIT).await {
                Ok(None) => return Ok(Bytes::Gone),
                Ok(Some(object)) => object,
                Err(StoreError::Corrupt { cause, .. }) => return Ok(Bytes::Unreadable(cause)),
                Err(error) => return Err(error),
            };
            Ok(match Named::read(&object.bytes, digest) {
                Ok(named) => Bytes::Manifest(Arc::new(named)),
                Err(cause) => Bytes::Unreadable(cause),
            })
        };
        let bytes = cell.get_or_try_init(|| read).await?.clone();
        let len = match &bytes {
            Bytes::Manifest(named) => named.digests.as_bytes().len(),
            Bytes::Gone | Bytes::Unreadable(_) => 0,
        };
        if len > MAX_NAMES {
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest);
        } else {
            self.shared_bytes.fetch_add(len + OVERHEAD, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// Room in memory for names until they are remembered.
    fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes + OVERHEAD).ok()?;
        Arc::clone(&self.learned).try_acquire_many_owned(bytes).ok()
    }
}

impl Content {
    fn add(&mut self, found: Found, reader: &ContentReader) {
        let Found { digest, link, origin, untagged, named, is_known } = found;
        let named = match named {
            Bytes::Manifest(named) => named,
            Bytes::Gone => {
                self.gone.insert(digest);
                return;
            }
            Bytes::Unreadable(cause) => {
                self.unreadable_manifests += 1;
                self.unreadable.push((Key::Blob(&digest).to_string(), cause));
                return;
            }
        };
        let is_child = |child: &Digest| {
            *child != digest && Some(*child) != named.subject && self.repository.revisions.contains_key(child)
        };
        let children = named.digests.iter().filter(is_child).collect();
        let subject = named.subject;
        let origin_or_push = origin.unwrap_or(Origin::Pushed);
        let manifest = ManifestContent { linked: link.modified, origin: origin_or_push, subject, untagged, children };
        self.manifests.insert(digest, manifest);
        let len = named.digests.as_bytes().len();
        let permit = reader.room(len);
        if len <= MAX_NAMES
            && (is_known || permit.is_some())
            && let Some(linked) = seconds(link.modified)
        {
            // A link that was written a moment ago may be written anew within the same second.
            let is_settled = reader.age.now > UNIX_EPOCH + Duration::from_secs(linked) + SETTLED;
            let origin = origin.filter(|_| is_settled);
            let named = Arc::unwrap_or_clone(named);
            self.learned.push((digest, Known { linked, origin, untagged: seconds(untagged), named }, permit));
        }
    }
}

/// How long ago a link was written that cannot be written anew within the same second.
const SETTLED: Duration = Duration::from_mins(1);
