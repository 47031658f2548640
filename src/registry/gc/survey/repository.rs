//! The list of `repositories/`, split into repositories: what a bucket has of each, one at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::SurveyError;
use super::known::{Known, KnownReader, KnownWriter};
use super::missing::Missing;
use super::needed::Age;
use super::pages::Pages;
use super::reader::Reader;
use super::records::{Namer, Record, Records};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{Key, Listed, RepositoryObject, split_repository};

/// How many bytes a link takes, roughly.
const LINK: usize = 400;
/// How many links of one repository are held at once. A repository with more is read in parts, of which nothing goes.
const MOST: usize = 100_000;
/// How many links of all repositories that are being read.
const ALL: usize = 150_000;

/// A link, as the list has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) modified: Option<SystemTime>,
    pub(super) size: u64,
}

/// What the list has of a tag.
#[derive(Clone, Debug, Default)]
pub(super) struct TagLinks {
    pub(super) current: Option<Link>,
    pub(super) history: Vec<(Digest, Link)>,
    pub(super) push: Option<Link>,
}

/// What the list has of a repository, besides its layer links.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) name: RepositoryName,
    /// Which one it is, in the order of the list.
    pub(super) index: u32,
    /// The number of its first manifest among all of the survey.
    pub(super) first_manifest: u32,
    pub(super) revisions: BTreeMap<Digest, Link>,
    pub(super) tags: BTreeMap<Tag, TagLinks>,
    pub(super) referrers: Vec<(Digest, Digest, Link)>,
    /// What earlier surveys remember of its manifests.
    pub(super) known: BTreeMap<Digest, Known>,
    /// This is not all of it, or not all of it is understood: nothing of it goes.
    pub(super) is_partial: bool,
    held: usize,
    /// The memory that it takes.
    permit: Option<OwnedSemaphorePermit>,
}

/// How many keys are named.
const FIRST: usize = 5;

/// What else the list has.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    pub(super) uploads: u64,
    pub(super) strangers: u64,
    /// Links to manifests that cannot be read: below a name or with a digest that pounce does not know.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) first_unreadable: Vec<String>,
}

/// Makes repositories of the list.
#[derive(Debug)]
pub(super) struct Repositories {
    reader: Arc<Reader>,
    pages: Pages,
    page: std::vec::IntoIter<Listed>,
    records: Arc<Records>,
    known: KnownReader,
    age: Age,
    memory: Arc<Semaphore>,
    current: Option<Repository>,
    /// How many repositories and manifests were begun.
    begun: u32,
    manifests: u32,
    others: Arc<Mutex<Others>>,
}

impl Repositories {
    pub(super) fn new(reader: &Arc<Reader>, records: &Arc<Records>, age: Age) -> Self {
        Self {
            reader: Arc::clone(reader),
            pages: Pages::new(reader, Key::Names("")),
            page: Vec::new().into_iter(),
            records: Arc::clone(records),
            known: KnownReader::new(Missing::new(age)),
            age,
            memory: Arc::new(Semaphore::new(ALL)),
            current: None,
            begun: 0,
            manifests: 0,
            others: Arc::default(),
        }
    }

    /// What else was found, once all was listed.
    pub(super) fn shared_others(&self) -> Arc<Mutex<Others>> {
        Arc::clone(&self.others)
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        lock(&self.others)
    }

    /// Writes what is remembered of them from now on.
    pub(super) fn known_writer(&self, remembers: bool) -> KnownWriter {
        KnownWriter::new(self.known.checksums(), self.known.missing(), remembers)
    }

    /// Repositories, in the order of the list.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<Repository, SurveyError>> {
        let next =
            |mut repositories: Self| async move { Ok(repositories.next().await?.map(|next| (next, repositories))) };
        stream::try_unfold(self, next).boxed()
    }

    /// The next repository, or the next part of a very large one.
    async fn next(&mut self) -> Result<Option<Repository>, SurveyError> {
        loop {
            let Some(listed) = self.page.next() else {
                self.page = self.pages.next().await?.into_iter();
                if self.page.len() > 0 {
                    continue;
                }
                let Some(last) = self.current.take() else {
                    self.known.finish(&self.reader).await?;
                    return Ok(None);
                };
                return self.finish(last).await.map(Some);
            };
            let Some((name, path)) = split_repository(&listed.path) else {
                self.others().strangers += 1;
                continue;
            };
            if self.current.as_ref().is_none_or(|current| current.name.as_str() != name) {
                let Ok(name) = name.parse() else {
                    self.skip(&listed.path, path);
                    continue;
                };
                let begun = self.begin(&name)?;
                let last = self.current.replace(begun);
                self.add(&listed).await?;
                if let Some(last) = last {
                    return self.finish(last).await.map(Some);
                }
                continue;
            }
            self.add(&listed).await?;
            if let Some(current) = &mut self.current
                && current.held >= MOST
            {
                let next = Repository { is_partial: true, ..Repository::new(&current.name, current.index) };
                let mut part = std::mem::replace(current, next);
                part.is_partial = true;
                return self.finish(part).await.map(Some);
            }
        }
    }

    /// A key of a stranger. Returns whether it may name a manifest, of which pounce does not know what it needs.
    fn skip(&mut self, key: &str, path: &str) -> bool {
        let mut others = self.others();
        others.strangers += 1;
        // <algorithm>/<digits>/link. Other programs mark directories by objects.
        let below = path.strip_prefix("_manifests/revisions/").and_then(|path| path.strip_suffix("/link"));
        let may_be_manifest = below.is_some_and(|digest| digest.matches('/').count() == 1);
        if may_be_manifest {
            others.unreadable += 1;
            if others.first_unreadable.len() < FIRST {
                others.first_unreadable.push(format!("{}{key}", Key::Names("")));
            }
        }
        may_be_manifest
    }

    fn begin(&mut self, name: &RepositoryName) -> Result<Repository, SurveyError> {
        let index = self.begun;
        self.begun = index.checked_add(1).ok_or(SurveyError::TooMany)?;
        Ok(Repository::new(name, index))
    }

    async fn add(&mut self, listed: &Listed) -> Result<(), SurveyError> {
        let path = split_repository(&listed.path).map_or("", |(_, path)| path);
        let object = RepositoryObject::parse(path);
        let hides_manifest = object.is_none() && self.skip(&listed.path, path);
        if let (None, Some(digest), Some(current)) = (&object, signature(path), &self.current) {
            // Its bytes stay.
            let namer = Namer::YoungLayer(current.index);
            self.records.add(Record { digest, namer }).await?;
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current.is_partial |= hides_manifest;
        let Some(object) = object else {
            return Ok(());
        };
        let link = Link { modified: listed.modified, size: listed.size };
        let is_held = !matches!(object, RepositoryObject::Layer(_) | RepositoryObject::Upload);
        current.held += usize::from(is_held);
        match object {
            RepositoryObject::Layer(digest) => {
                let size = u32::try_from(link.size).unwrap_or(u32::MAX);
                let is_old = self.age.is_old(link.modified);
                let index = current.index;
                let namer = if is_old { Namer::OldLayer(index, size) } else { Namer::YoungLayer(index) };
                self.records.add(Record { digest, namer }).await?;
            }
            RepositoryObject::Revision(digest) => drop(current.revisions.insert(digest, link)),
            RepositoryObject::Tag(tag) => current.tags.entry(tag).or_default().current = Some(link),
            RepositoryObject::TagHistory(tag, digest) => {
                current.tags.entry(tag).or_default().history.push((digest, link));
            }
            RepositoryObject::TagPush(tag) => current.tags.entry(tag).or_default().push = Some(link),
            RepositoryObject::Referrer(subject, digest) => current.referrers.push((subject, digest, link)),
            RepositoryObject::Upload => lock(&self.others).uploads += 1,
            RepositoryObject::Pushed => {}
        }
        Ok(())
    }

    async fn finish(&mut self, mut repository: Repository) -> Result<Repository, SurveyError> {
        let wanted: Vec<_> = repository.revisions.keys().copied().collect();
        repository.known = self.known.take(&self.reader, repository.name.as_str(), &wanted).await?;
        repository.first_manifest = self.manifests;
        let manifests = u32::try_from(wanted.len()).ok().and_then(|more| self.manifests.checked_add(more));
        self.manifests = manifests.ok_or(SurveyError::TooMany)?;
        let known = repository.known.values().map(|known| known.named.digests.as_bytes().len()).sum::<usize>();
        let permits = u32::try_from((repository.held + known / LINK).min(ALL)).unwrap_or_default();
        // Never closed.
        repository.permit = Arc::clone(&self.memory).acquire_many_owned(permits).await.ok();
        Ok(repository)
    }
}

/// A signature of a manifest of schema 1, which distribution linked until 2.4, as its digest.
fn signature(path: &str) -> Option<Digest> {
    let (_, digest) = path.strip_prefix("_manifests/revisions/")?.split_once("/signatures/")?;
    digest.strip_suffix("/link")?.replacen('/', ":", 1).parse().ok()
}

pub(super) fn lock(others: &Mutex<Others>) -> MutexGuard<'_, Others> {
    others.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repository {
    fn new(name: &RepositoryName, index: u32) -> Self {
        Self {
            name: name.clone(),
            index,
            first_manifest: 0,
            revisions: BTreeMap::new(),
            tags: BTreeMap::new(),
            referrers: Vec::new(),
            known: BTreeMap::new(),
            is_partial: false,
            held: 0,
            permit: None,
        }
    }
}
