//! Listing referrers (end-12): the manifests whose `subject` is a digest.
//!
//! Three lists make one: the entries that are written when such a manifest is stored, the tag that clients keep on
//! registries without the API (`sha256-<hex>`), and the upstream's, from its API or its tag. The descriptors of the
//! first two are made from the manifests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use super::flights::{FlightKey, Flights};
use super::list_memory::{ListMemory, ListReservation, in_time, referrer_bytes};
use super::removal::{Removal, Removed};
use super::runtime::try_join_bounded;
use super::staleness::{Staleness, log_stale};
use super::stored_manifest;
use crate::oci::{
    self, Digest, Error, MAX_MANIFEST_BYTES, Manifest, MediaType, Reference, Referrer, RepositoryName, Tag,
};
use crate::store::{Condition, Key, Listed, Metadata, Store, StoreError};
use crate::upstream::{UpstreamError, Upstreams};

/// How many entries of one list are read at once.
const PARALLEL: usize = 16;
/// How often an entry is read anew that is pushed between its read and its delete.
const ATTEMPTS: usize = 5;
/// The most bytes of an entry: a little more than the manifest whose annotations it has.
const MAX_ENTRY: u64 = 8 << 20;
/// The most referrers of one digest.
const MAX_REFERRERS: usize = 10_000;
/// The most bytes of the list of one digest's referrers.
const MAX_BYTES: usize = 16 << 20;
/// The size of a page in bytes, as far as its descriptors are: an index is a manifest.
const PAGE_BYTES: usize = 2 << 20;
/// The most descriptors of a page.
const PAGE: usize = 1_000;

/// A page of referrers, in the order of their digests.
#[derive(Clone, Debug)]
pub struct ReferrersPage {
    /// The referrers.
    pub list: oci::Referrers,
    /// What the next page comes after, if there is one.
    pub next: Option<Digest>,
    /// Why those that only the upstream has are missing, where they are.
    pub stale: Option<Staleness>,
}

/// Lists the referrers of digests.
#[derive(Debug)]
pub struct Referrers {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) memory: Arc<ListMemory>,
}

impl Referrers {
    /// The referrers of a digest, of one artifact type or of any, after `last`. A digest that the registry does not
    /// know has none.
    ///
    /// With the upstream away, the stored ones are the list.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer, or too many long lists are being made.
    pub async fn list(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
    ) -> Result<ReferrersPage, Error> {
        let (all, stale) = if let Some(all) = self.cache.lists.referrers(name, subject) {
            all
        } else {
            let key = FlightKey::Referrers(name.clone(), *subject);
            self.flights.coalesce(key, Box::pin(self.find(name, subject))).await?
        };
        let wanted = |referrer: &&Referrer| {
            artifact_type.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
                && last.is_none_or(|last| referrer.digest > *last)
        };
        let mut matching = all.iter().filter(wanted).peekable();
        let (mut page, mut left) = (Vec::new(), PAGE_BYTES);
        while let Some(referrer) = matching.peek()
            && page.len() < PAGE
            && (page.is_empty() || referrer_bytes(referrer) <= left)
        {
            left = left.saturating_sub(referrer_bytes(referrer));
            page.extend(matching.next().cloned());
        }
        let next = page.last().map(|referrer: &Referrer| referrer.digest).filter(|_| matching.peek().is_some());
        Ok(ReferrersPage { list: oci::Referrers::new(page), next, stale })
    }

    /// The first referrers that are stored with their subject, at most `limit`, and whether there are more. Neither the
    /// upstream nor the tag that clients maintain is asked. They come without their annotations, which may be large.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub(super) async fn stored(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        limit: usize,
    ) -> Result<(Vec<Referrer>, bool), Error> {
        let most = i32::try_from(limit).unwrap_or(i32::MAX);
        let (listed, more) = self.store.objects(Key::Referrers(name, subject), None, most).await?;
        let entries = listed.iter().filter_map(entry_of).collect::<Vec<_>>();
        let read = entries.into_iter().map(async |(digest, size)| {
            let referrer = self.entry(name, subject, digest, size).await?;
            Ok::<_, Error>(referrer.map(|referrer| Referrer { annotations: None, ..referrer }))
        });
        let read = try_join_bounded(PARALLEL, read.collect()).await?;
        Ok((read.into_iter().flatten().collect(), more))
    }

    /// Enters a manifest into the list of its subject's referrers.
    pub(super) async fn write(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        let Some((subject, referrer)) = manifest.referrer() else {
            return Ok(());
        };
        // Texts and numbers always serialize.
        let bytes = Bytes::from(serde_json::to_vec(&referrer).unwrap_or_default());
        let (media_type, metadata) = (MediaType::OCTET_STREAM, Metadata::new());
        let key = Key::Referrer(name, &subject, &referrer.digest);
        let put = self.store.put(key, bytes, &media_type, &metadata, Condition::Always).await;
        // Also if the answer is lost.
        self.forget(name, &subject).await;
        put.map(drop)
    }

    /// Takes a manifest whose link is deleted from the list of its subject's referrers, unless it is pushed again.
    pub(super) async fn delete(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let (store, key) = (&self.store, Key::Referrer(name, subject, digest));
        for _ in 0..ATTEMPTS {
            let removed = if store.keeps_conditions().await {
                match store.leader().get_up_to(key, MAX_ENTRY).await? {
                    Some(entry) => Removal::of_referrer(name, subject, digest, &entry).run(store).await?,
                    None => Removed::Gone,
                }
            } else if store.leader().exists(Key::Revision(name, digest)).await? {
                Removed::Kept
            } else {
                store.delete(key).await?;
                Removed::Gone
            };
            if removed != Removed::Changed {
                self.forget(name, subject).await;
                return Ok(());
            }
        }
        let cause = format!("the entry of {digest} among the referrers of {subject} changes all the time");
        Err(StoreError::Unavailable { operation: "DeleteObject", cause })
    }

    /// Forgets a list, under the lock of the lookups that make it, because one that is being made may lack the change.
    pub(super) async fn forget(&self, name: &RepositoryName, subject: &Digest) {
        let forget = async { self.cache.lists.forget_referrers(name, subject) };
        self.flights.exclusive(FlightKey::Referrers(name.clone(), *subject), forget).await;
    }

    async fn find(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<(Arc<Vec<Referrer>>, Option<Staleness>), Error> {
        if let Some(all) = self.cache.lists.referrers(name, subject) {
            return Ok(all);
        }
        self.memory.make(|memory| self.make(name, subject, memory)).await
    }

    async fn make(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        memory: Arc<ListReservation>,
    ) -> Result<(Arc<Vec<Referrer>>, Option<Staleness>), Error> {
        let (stored, tagged, upstream) = tokio::join!(
            self.entered(name, subject, &memory),
            self.tagged(name, subject, &memory),
            in_time(self.of_upstream(name, subject, &memory))
        );
        memory.check()?;
        let (upstream, stale) = match upstream {
            Ok(upstream) => (upstream, None),
            Err(error) => {
                let stale = Staleness::of(&error);
                if stale.is_some()
                    && let Some(upstream) = self.upstreams.of(name)
                {
                    log_stale(&upstream, (name, subject), &error, "listing the stored referrers only");
                }
                (Vec::new(), stale)
            }
        };
        // The first of the three that has a digest describes it.
        let (mut all, mut left) = (BTreeMap::new(), MAX_BYTES);
        for referrer in stored?.into_iter().chain(tagged?).chain(upstream) {
            if all.len() >= MAX_REFERRERS || referrer_bytes(&referrer) > left {
                tracing::warn!(repository = %name, %subject, "there are more referrers than are listed");
                break;
            }
            left -= referrer_bytes(&referrer);
            all.entry(referrer.digest).or_insert(referrer);
        }
        let all: Arc<Vec<Referrer>> = Arc::new(all.into_values().collect());
        self.cache.lists.keep_referrers(name, subject, (Arc::clone(&all), stale));
        Ok((all, stale))
    }

    /// The entries of manifests that were stored with their subject.
    async fn entered(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        memory: &ListReservation,
    ) -> Result<Vec<Referrer>, Error> {
        let store = &self.store;
        let mut found = Vec::new();
        let mut last: Option<String> = None;
        while found.len() < MAX_REFERRERS {
            let directory = Key::Referrers(name, subject);
            let (listed, more) = store.objects(directory, last.as_deref(), 1000).await?;
            last = listed.last().map(|object| object.path.clone());
            let entries: Vec<_> = listed.iter().filter_map(entry_of).collect();
            let read = |(digest, size)| self.entry(name, subject, digest, size);
            let has_memory = read_some(&mut found, &entries, memory, read).await?;
            if !has_memory || !more || last.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Those that clients listed under a tag, as far as they are stored and refer to the subject.
    async fn tagged(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        memory: &ListReservation,
    ) -> Result<Vec<Referrer>, Error> {
        let store = &self.store;
        let link = store.get(Key::Tag(name, &schema_tag(subject))).await?;
        let Some(index) = link.and_then(|link| link.digest()) else {
            return Ok(Vec::new());
        };
        let index = stored_manifest::read(store, name, index).await?;
        let listed = index.and_then(|(index, _)| oci::Referrers::read(index.bytes()));
        let listed = listed.map(|index| index.manifests).unwrap_or_default();
        let digests = listed.iter().take(MAX_REFERRERS).map(|it| it.digest);
        // An index may name one several times.
        let digests: Vec<Digest> = digests.collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = Vec::new();
        let read = |digest| self.listed(name, subject, digest);
        read_some(&mut found, &digests, memory, read).await?;
        Ok(found)
    }

    async fn entry(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: Digest,
        size: u64,
    ) -> Result<Option<Referrer>, Error> {
        let key = Key::Referrer(name, subject, &digest);
        let size = usize::try_from(size.min(MAX_ENTRY)).unwrap_or(usize::MAX);
        let _memory = self.memory.reserve_entry(size).await;
        let object = self.store.get_up_to(key, MAX_ENTRY).await?;
        Ok(object.and_then(|object| serde_json::from_slice(&object.bytes).ok()))
    }

    async fn listed(&self, name: &RepositoryName, subject: &Digest, digest: Digest) -> Result<Option<Referrer>, Error> {
        let _memory = self.memory.reserve_entry(MAX_MANIFEST_BYTES).await;
        let manifest = stored_manifest::read(&self.store, name, digest).await?;
        let found = manifest.and_then(|(manifest, _)| manifest.referrer());
        Ok(found.filter(|(of, _)| of == subject).map(|(_, it)| it))
    }

    /// The upstream's list.
    async fn of_upstream(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        memory: &ListReservation,
    ) -> Result<Vec<Referrer>, UpstreamError> {
        let Some(upstream) = self.upstreams.of(name) else {
            return Ok(Vec::new());
        };
        // Many registries have no such list.
        let take = |bytes| memory.reserve(bytes);
        match upstream.referrers(name, subject, &take).await {
            Err(UpstreamError::NotFound) => {}
            Err(UpstreamError::NotAdmitted) => return Ok(Vec::new()),
            other => return other,
        }
        let tag = Reference::Tag(schema_tag(subject));
        match upstream.get_manifest(name, &tag, &[]).await {
            Ok(index) if !take(index.bytes.len()) => Ok(Vec::new()),
            Ok(index) => {
                let index = oci::Referrers::read(&index.bytes);
                Ok(index.map(|index| index.manifests).unwrap_or_default())
            }
            Err(UpstreamError::NotFound | UpstreamError::NotAdmitted | UpstreamError::Unrecognized(_)) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads descriptors, a few at once, until they are too many bytes. Returns whether there is memory for more.
async fn read_some<T: Copy, F>(
    found: &mut Vec<Referrer>,
    entries: &[T],
    memory: &ListReservation,
    read: impl Fn(T) -> F,
) -> Result<bool, Error>
where
    F: Future<Output = Result<Option<Referrer>, Error>>,
{
    for some in entries.chunks(PARALLEL) {
        let some = some.iter().map(|entry| read(*entry)).collect();
        let some = try_join_bounded(PARALLEL, some).await?;
        let some: Vec<Referrer> = some.into_iter().flatten().collect();
        if !memory.reserve(some.iter().map(referrer_bytes).sum()) {
            return Ok(false);
        }
        found.extend(some);
        if found.iter().map(referrer_bytes).sum::<usize>() > MAX_BYTES {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The manifest of an entry, `<algorithm>/<hex>/descriptor`, and the entry's size.
fn entry_of(object: &Listed) -> Option<(Digest, u64)> {
    let path = object.path.strip_suffix("/descriptor")?;
    let digest = path.replacen('/', ":", 1).parse().ok()?;
    Some((digest, object.size))
}

/// The tag under which clients list referrers where there is no API (spec, "Referrers Tag Schema").
fn schema_tag(subject: &Digest) -> Tag {
    let hex = subject.hex();
    let text = format!("{}-{}", subject.algorithm().as_str(), &hex[..64]);
    // An algorithm's name and hex are characters of a tag.
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a tag"))
}
