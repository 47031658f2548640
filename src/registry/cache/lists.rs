//! Lists, which clients read page by page: of repositories, of tags and of referrers.
//!
//! They are one cache. (Each type of moka's has some 80 KB of program, and takes seconds to compile.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache as Moka;

use super::{Cache, weight};
use crate::oci::{Digest, Referrer, RepositoryName, Tag};
use crate::registry::{Staleness, referrers};

/// How much lists may take together, in bytes: the longest of any kind has its place.
const BYTES: u64 = 48 << 20;
/// How long one is kept, for its next page.
const LIFE: Duration = Duration::from_secs(10);
/// How long that of repositories is, because it takes a walk through the whole bucket. What is pushed here is in it at
/// once.
const CATALOG_LIFE: Duration = Duration::from_mins(1);
/// What a name or a tag takes besides its text, in bytes; and a list besides its entries.
const EACH: usize = 40;

/// What a list is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Listed {
    Catalog,
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
}

#[derive(Clone, Debug)]
pub(super) enum List {
    Catalog(Arc<Vec<RepositoryName>>),
    Tags(Arc<Vec<Tag>>),
    /// With the reason why the upstream's are missing, where they are.
    Referrers(Arc<Vec<Referrer>>, Option<Staleness>),
}

pub(super) fn new() -> Moka<Listed, List> {
    Moka::builder().max_capacity(BYTES).weigher(|_, list: &List| weight(list.bytes())).expire_after(Life).build()
}

/// How long a list is kept.
struct Life;

impl Expiry<Listed, List> for Life {
    fn expire_after_create(&self, listed: &Listed, _: &List, _: Instant) -> Option<Duration> {
        Some(if *listed == Listed::Catalog { CATALOG_LIFE } else { LIFE })
    }

    fn expire_after_update(
        &self,
        listed: &Listed,
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
            Self::Catalog(names) => texts(&mut names.iter().map(RepositoryName::as_str)),
            Self::Tags(tags) => texts(&mut tags.iter().map(Tag::as_str)),
            Self::Referrers(list, _) => list.iter().map(referrers::weight).sum(),
        };
        entries + EACH
    }
}

impl Cache {
    pub(in crate::registry) fn catalog(&self) -> Option<Arc<Vec<RepositoryName>>> {
        match self.lists.get(&Listed::Catalog)? {
            List::Catalog(names) => Some(names),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_catalog(&self, names: Arc<Vec<RepositoryName>>) {
        self.keep_list(Listed::Catalog, List::Catalog(names));
    }

    pub(in crate::registry) fn forget_catalog(&self) {
        self.lists.invalidate(&Listed::Catalog);
    }

    pub(in crate::registry) fn tag_list(&self, name: &RepositoryName) -> Option<Arc<Vec<Tag>>> {
        match self.lists.get(&Listed::Tags(name.clone()))? {
            List::Tags(tags) => Some(tags),
            _ => None,
        }
    }

    pub(in crate::registry) fn keep_tag_list(&self, name: &RepositoryName, tags: Arc<Vec<Tag>>) {
        self.keep_list(Listed::Tags(name.clone()), List::Tags(tags));
    }

    pub(in crate::registry) fn forget_tag_list(&self, name: &RepositoryName) {
        self.lists.invalidate(&Listed::Tags(name.clone()));
    }

    pub(in crate::registry) fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Option<(Arc<Vec<Referrer>>, Option<Staleness>)> {
        match self.lists.get(&Listed::Referrers(name.clone(), *subject))? {
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
        let subject = Listed::Referrers(name.clone(), *subject);
        self.keep_list(subject, List::Referrers(list, stale));
    }

    fn keep_list(&self, of: Listed, list: List) {
        self.lists.insert(of, list);
        // The cache makes room now and then only, and several long lists could come meanwhile.
        self.lists.run_pending_tasks();
    }

    pub(in crate::registry) fn forget_referrers(&self, name: &RepositoryName, subject: &Digest) {
        let subject = Listed::Referrers(name.clone(), *subject);
        self.lists.invalidate(&subject);
    }
}
