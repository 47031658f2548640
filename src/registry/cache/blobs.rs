//! Blobs: whether the bucket has them, which repositories they belong to, and presigned URLs for them.
//!
//! All of it is one entry for each digest. So a redirect takes one lookup, and 100,000 blobs take 60 MiB (`make
//! bench`), most of which is the cache's own, for each entry.

mod membership;
mod packed;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;
use smallvec::SmallVec;

use super::bounds::Evictions;
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::store::{PresignedUrl, Stored};
use crate::telemetry::CacheUsage;
use packed::{Key, Packed, Second, Size};

pub(in crate::registry) use membership::{Membership, Standing};

/// The most blobs; an entry is some 600 bytes, most of them the cache's own.
const BLOBS: u64 = 250_000;
/// The most repositories of one blob. Base layers may be in more; the latest are kept.
const MEMBERS: usize = 64;
/// The most names that are kept once.
const NAMES: usize = 10_000;
/// The most URLs for a blob: there is one, or one for each host name by which clients reach pounce.
const URLS: usize = 8;

/// The cache of blobs.
#[derive(Debug)]
pub(in crate::registry) struct BlobCache {
    /// An entry that no request asks for is forgotten. (With a time to live, it would be in another list besides, which
    /// takes 64 bytes.)
    entries: Moka<Key, Arc<Mutex<Facts>>>,
    evicted: Evictions,
    /// Names of repositories, so that each is kept once.
    names: Mutex<HashSet<RepositoryName>>,
    /// How long a URL is given to clients.
    url_life: Duration,
    /// How old a blob must be before a URL for it is given to clients.
    min_age: Duration,
    /// How long facts count.
    present: Duration,
    began: Instant,
}

#[derive(Debug)]
struct Facts {
    /// The facts count for [`present`](BlobCache::present) from here, also those that were added later.
    since: Second,
    /// Until then, clients are not redirected to the bucket for it. (It takes no memory: it fills the padding after
    /// `since`.)
    young_until: Second,
    /// Its size, if the bucket has it.
    present: Option<Size>,
    members: SmallVec<[(RepositoryName, Packed); 1]>,
    urls: SmallVec<[Url; 1]>,
}

#[derive(Debug)]
struct Url {
    /// The URL by which the client reached pounce, where the presigned URL depends on it. (Its pointer has 8 bytes,
    /// that to a `str` has 16.)
    base: Option<Arc<String>>,
    presigned: PresignedUrl,
    until: Second,
}

impl BlobCache {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.entries.invalidate_all();
    }

    pub(super) fn usage(&self) -> CacheUsage {
        // Otherwise the numbers are those of a while ago.
        self.entries.run_pending_tasks();
        let (entries, evictions) = (self.entries.entry_count(), self.evicted.count());
        CacheUsage { name: "blobs", entries, bytes: None, evictions }
    }

    pub(super) fn new(url_life: Duration, min_age: Duration, present: Duration) -> Self {
        let evicted = Evictions::default();
        Self {
            entries: evicted.of(Moka::builder().max_capacity(BLOBS).time_to_idle(present)).build(),
            evicted,
            names: Mutex::default(),
            url_life,
            min_age,
            present,
            began: Instant::now(),
        }
    }

    fn read<T>(&self, digest: &Digest, look: impl FnOnce(&mut Facts, Second) -> Option<T>) -> Option<T> {
        let entry = self.entries.get(&Key::from(digest))?;
        let (mut facts, now) = (lock(&entry), self.now());
        facts.believable(now, self.present).then(|| look(&mut facts, now))?
    }

    fn write(&self, digest: &Digest, add: impl FnOnce(&mut Facts)) {
        let now = self.now();
        let new = || Arc::new(Mutex::new(Facts::new(now)));
        let entry = self.entries.get_with(Key::from(digest), new);
        let mut facts = lock(&entry);
        if !facts.believable(now, self.present) {
            *facts = Facts::new(now);
        }
        add(&mut facts);
    }

    fn now(&self) -> Second {
        Second::after(self.began.elapsed())
    }

    /// When a blob of this age stops being young, rounded up to a second.
    fn young_until(&self, age: Duration) -> Second {
        match self.min_age.saturating_sub(age) {
            Duration::ZERO => Second::FIRST,
            left => Second::after(self.began.elapsed() + left + Duration::from_secs(1)),
        }
    }

    fn name(&self, name: &RepositoryName) -> RepositoryName {
        let mut names = lock(&self.names);
        if let Some(kept) = names.get(name) {
            return kept.clone();
        }
        if names.len() >= NAMES {
            // Entries keep the names that they have.
            names.clear();
        }
        names.insert(name.clone());
        name.clone()
    }
}

impl Url {
    fn is_for(&self, base: Option<&str>) -> bool {
        self.base.as_ref().map(|known| known.as_str()) == base
    }
}

impl Facts {
    fn new(since: Second) -> Self {
        Self { since, young_until: Second::FIRST, present: None, members: SmallVec::new(), urls: SmallVec::new() }
    }

    fn believable(&self, now: Second, present: Duration) -> bool {
        now < self.since.plus(present)
    }

    fn is_young(&self, now: Second) -> bool {
        now < self.young_until
    }

    fn member(&self, name: &RepositoryName) -> Option<Membership> {
        let mut members = self.members.iter();
        let (_, packed) = members.find(|(known, _)| known == name)?;
        Some(packed.member())
    }

    fn keep_member(&mut self, name: RepositoryName, member: Membership) {
        self.members.retain(|(known, _)| *known != name);
        push(&mut self.members, MEMBERS, (name, Packed::new(member)));
    }

    /// Its size in the bucket, if the repository has it.
    fn size_in(&self, name: &RepositoryName) -> Option<u64> {
        let size = self.present?.bytes();
        // A blob without a link is about to get one.
        self.member(name).filter(Membership::is_linked)?;
        Some(size)
    }

    fn url(&self, base: Option<&str>, now: Second) -> Option<&PresignedUrl> {
        let mut urls = self.urls.iter();
        let url = urls.find(|url| url.is_for(base))?;
        (now < url.until).then_some(&url.presigned)
    }
}

impl BlobCache {
    /// The size of a blob that is linked to the repository and in the bucket.
    pub(in crate::registry) fn size(&self, name: &RepositoryName, digest: &Digest) -> Option<u64> {
        self.read(digest, |facts, _| facts.size_in(name))
    }

    /// Where such a blob can be fetched, and its size, if there is a URL with enough life left, and every region of the
    /// bucket has the blob. The text is written while the entry is locked, because a copy of the URL would count itself
    /// in a number that all threads share.
    pub(in crate::registry) fn location(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        base: Option<&str>,
    ) -> Option<(String, u64)> {
        self.read(digest, |facts, now| {
            let size = facts.size_in(name)?;
            let url = facts.url(base, now).filter(|_| !facts.is_young(now))?;
            Some((url.url(digest), size))
        })
    }

    /// How a blob belongs to a repository, whether or not the bucket has it.
    pub(in crate::registry) fn membership(&self, name: &RepositoryName, digest: &Digest) -> Option<Membership> {
        self.read(digest, |facts, _| facts.member(name))
    }

    pub(in crate::registry) fn keep_membership(&self, name: &RepositoryName, digest: Digest, member: Membership) {
        let name = self.name(name);
        self.write(&digest, |facts| facts.keep_member(name, member));
    }

    /// Remembers that a manifest of the repository names a blob, which has at least this standing.
    pub(in crate::registry) fn keep_named(&self, name: &RepositoryName, blob: &Descriptor, standing: Standing) {
        let name = self.name(name);
        self.write(blob.digest(), |facts| {
            let known = facts.member(&name).map(|member| member.standing);
            let standing = known.map_or(standing, |known| known.max(standing));
            let size = blob.size();
            facts.keep_member(name, Membership { size, standing });
        });
    }

    pub(in crate::registry) fn forget_membership(&self, name: &RepositoryName, digest: &Digest) {
        self.read(digest, |facts, _| {
            facts.members.retain(|(known, _)| known != name);
            Some(())
        });
    }

    /// The size of a blob that is known to be in the bucket.
    pub(in crate::registry) fn present(&self, digest: &Digest) -> Option<u64> {
        self.read(digest, |facts, _| facts.present.map(Size::bytes))
    }

    /// Whether other regions of the bucket may not have heard yet of a blob that is known to be there.
    pub(in crate::registry) fn is_young(&self, digest: &Digest) -> bool {
        let young = self.read(digest, |facts, now| Some(facts.is_young(now)));
        young == Some(true)
    }

    /// Remembers that the bucket has a blob. A blob that is remembered does not become young again, even if the
    /// bucket's clock is wrong.
    pub(in crate::registry) fn keep_present(&self, digest: Digest, stored: Stored) {
        let young_until = self.young_until(stored.age);
        self.write(&digest, |facts| {
            if facts.present.is_none() || young_until < facts.young_until {
                facts.young_until = young_until;
            }
            facts.present = Some(Size::new(stored.size));
        });
    }

    pub(in crate::registry) fn forget_present(&self, digest: &Digest) {
        self.read(digest, |facts, _| facts.present.take());
    }

    /// A presigned URL with enough life left. There is no `base` where URLs do not depend on it.
    pub(in crate::registry) fn url(&self, digest: &Digest, base: Option<&str>) -> Option<PresignedUrl> {
        self.read(digest, |facts, now| facts.url(base, now).cloned())
    }

    pub(in crate::registry) fn keep_url(&self, digest: Digest, base: Option<&str>, presigned: PresignedUrl) {
        let until = self.now().plus(self.url_life);
        self.write(&digest, |facts| {
            facts.urls.retain(|url| !url.is_for(base));
            let url = Url { base: base.map(|base| Arc::new(base.to_owned())), presigned, until };
            push(&mut facts.urls, URLS, url);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most lists have one entry, which is stored in the list itself.
fn push<T>(list: &mut SmallVec<[T; 1]>, most: usize, entry: T) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn hosts_that_change_with_each_request_do_not_grow_an_entry() {
        let cache = BlobCache::new(Duration::from_mins(1), Duration::ZERO, Duration::from_mins(10));
        let digest = Digest::of(Algorithm::Sha256, b"a blob");
        for number in 0..100_000 {
            let base = format!("http://h{number}.example.com/");
            cache.keep_url(digest, Some(&base), PresignedUrl::whole(&base));
            assert_eq!(cache.url(&digest, Some(&base)).unwrap().url(&digest), base);
        }
        assert_eq!(cache.entries.iter().count(), 1);
        cache.read(&digest, |facts, _| facts.urls.len().eq(&URLS).then_some(())).unwrap();
    }
}
