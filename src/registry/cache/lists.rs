//! Lists, which clients read page by page: of repositories, of tags and of referrers.
//!
//! They are one cache. (Each type of moka's has some 80 KB of program, and takes seconds to compile.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache as Moka;

use super::bounds::{Evictions, weight};
use crate::oci::{Digest, Referrer, RepositoryName, Tag};
use crate::registry::list_memory::referrer_bytes;
use crate::registry::staleness::Staleness;
use crate::telemetry::CacheUsage;

/// The most bytes of all lists together: the longest of any kind fits.
const BYTES: u64 = 48 << 20;
/// How long a list is kept, for its next page.
const LIFE: Duration = Duration::from_secs(10);
/// How long the catalog is kept, because it takes a walk through the whole bucket. A repository that is pushed here is
/// in it at once.
const CATALOG_LIFE: Duration = Duration::from_mins(1);
/// The bytes that a name or a tag takes besides its text, and a list besides its entries.
const EACH: usize = 40;

/// What a list is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ListKey {
    Catalog,
    Names,
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
}

#[derive(Clone, Debug)]
enum List {
    Catalog(Arc<Vec<RepositoryName>>),
    /// Of all directories of repositories; and whether these are all.
    Names(Arc<Vec<RepositoryName>>, bool),
    Tags(Arc<Vec<Tag>>),
    /// With the reason why the upstream's are missing, where they are.
    Referrers(Arc<Vec<Referrer>>, Option<Staleness>),
}

#[derive(Debug)]
pub(in crate::registry) struct ListCache(Moka<ListKey, List>, Evictions);

/// How long a list is kept.
struct Life;

impl Expiry<ListKey, List> for Life {
    fn expire_after_create(&self, listed: &ListKey, _: &List, _: Instant) -> Option<Duration> {
        Some(if *listed == ListKey::Catalog { CATALOG_LIFE } else { LIFE })
    }

    fn expire_after_update(
        &self,
        listed: &ListKey,
        list: &List,
        updated: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(listed, list, updated)
    }
}

impl List {
    fn bytes(&self) -> usize {
        let texts = |texts: &mut dyn Iterator<Item = &str>| -> usize { texts.map(|text| text.len() + EACH).sum() };
        let entries = match self {
            Self::Catalog(names) | Self::Names(names, _) => texts(&mut names.iter().map(RepositoryName::as_str)),
            Self::Tags(tags) => texts(&mut tags.iter().map(Tag::as_str)),
            Self::Referrers(list, _) => list.iter().map(referrer_bytes).sum(),
        };
        entries + EACH
    }
}

impl ListCache {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }

    pub(super) fn usage(&self) -> CacheUsage {
        // Otherwise the numbers are those of a while ago.
        self.0.run_pending_tasks();
        let (entries, bytes) = (self.0.entry_count(), Some(self.0.weighted_size()));
        CacheUsage { name: "lists", entries, bytes, evictions: self.1.count() }
    }

    pub(super) fn new() -> Self {
        let weigher = |_: &ListKey, list: &List| weight(list.bytes());
        let evicted = Evictions::default();
        let lists = Moka::builder().max_capacity(BYTES).weigher(weigher).expire_after(Life);
        Self(evicted.of(lists).build(), evicted)
    }

    pub(in crate::registry) fn catalog(&self) -> Option<Arc<Vec<RepositoryName>>> {
        match self.0.get(&ListKey::Catalog)? {
            List::Catalog(names) => Some(names),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_catalog(&self, names: Arc<Vec<RepositoryName>>) {
        self.keep_list(ListKey::Catalog, List::Catalog(names));
    }

    /// The names of all directories of repositories, and whether these are all.
    pub(in crate::registry) fn names(&self) -> Option<(Arc<Vec<RepositoryName>>, bool)> {
        match self.0.get(&ListKey::Names)? {
            List::Names(names, is_whole) => Some((names, is_whole)),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_names(&self, names: Arc<Vec<RepositoryName>>, is_whole: bool) {
        self.keep_list(ListKey::Names, List::Names(names, is_whole));
    }

    pub(in crate::registry) fn forget_catalog(&self) {
        self.0.invalidate(&ListKey::Catalog);
        self.0.invalidate(&ListKey::Names);
    }

    /// Forgets the catalog and the names if the repository is not in both.
    pub(in crate::registry) fn forget_catalog_without(&self, name: &RepositoryName) {
        let lists = [self.catalog(), self.names().map(|(names, _)| names)];
        if lists.iter().flatten().any(|names| names.binary_search(name).is_err()) {
            self.forget_catalog();
        }
    }

    pub(in crate::registry) fn tags(&self, name: &RepositoryName) -> Option<Arc<Vec<Tag>>> {
        match self.0.get(&ListKey::Tags(name.clone()))? {
            List::Tags(tags) => Some(tags),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_tags(&self, name: &RepositoryName, tags: Arc<Vec<Tag>>) {
        self.keep_list(ListKey::Tags(name.clone()), List::Tags(tags));
    }

    pub(in crate::registry) fn forget_tags(&self, name: &RepositoryName) {
        self.0.invalidate(&ListKey::Tags(name.clone()));
    }

    pub(in crate::registry) fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Option<(Arc<Vec<Referrer>>, Option<Staleness>)> {
        match self.0.get(&ListKey::Referrers(name.clone(), *subject))? {
            List::Referrers(list, stale) => Some((list, stale)),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        (list, stale): (Arc<Vec<Referrer>>, Option<Staleness>),
    ) {
        let subject = ListKey::Referrers(name.clone(), *subject);
        self.keep_list(subject, List::Referrers(list, stale));
    }

    fn keep_list(&self, of: ListKey, list: List) {
        self.0.insert(of, list);
        // The cache makes room now and then only, and several long lists could come meanwhile.
        self.0.run_pending_tasks();
    }

    pub(in crate::registry) fn forget_referrers(&self, name: &RepositoryName, subject: &Digest) {
        let subject = ListKey::Referrers(name.clone(), *subject);
        self.0.invalidate(&subject);
    }
}
