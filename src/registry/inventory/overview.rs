//! All repositories, one after the other.

use std::collections::VecDeque;
use std::time::SystemTime;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::key_pages::KeyPages;
use super::{Inventory, RecentPulls, RepositoryEntry, Source};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{Key, Listed, RepositoryObject, StoreError, split_repository};

/// Of how many repositories a link is read at once.
const PARALLEL: usize = 16;

/// The keys of all repositories. Those of one repository come together, because all begin with its name and `/_`.
struct Walk<'a> {
    pages: KeyPages<'a>,
    pulls: &'a RecentPulls,
    page: VecDeque<Listed>,
    current: Option<Counted>,
}

/// What the keys of a repository tell.
#[derive(Default)]
struct Counted {
    name: String,
    parsed: Option<RepositoryName>,
    tags: u64,
    manifests: u64,
    blobs: u64,
    written: Option<SystemTime>,
    pulled: Option<SystemTime>,
    is_pushed: bool,
    tag: Option<Tag>,
    manifest: Option<Digest>,
}

impl Inventory {
    /// All repositories, in the order of their keys: a request for each 1,000 keys, and one for each repository.
    /// Directories without a tag, a manifest or a blob, as uploads leave them, are left out.
    pub fn repositories<'a>(&'a self, pulls: &'a RecentPulls) -> BoxStream<'a, Result<RepositoryEntry, StoreError>> {
        let pages = KeyPages::new(&self.store, Key::Names(""));
        let walk = Walk { pages, pulls, page: VecDeque::new(), current: None };
        let counted = stream::try_unfold(walk, async |mut walk| Ok(walk.next().await?.map(|counted| (counted, walk))));
        let entries = counted.map_ok(|counted| async { Ok(self.entry(counted).await) });
        entries.try_buffered(PARALLEL).boxed()
    }

    async fn entry(&self, counted: Counted) -> RepositoryEntry {
        let (source, error) = match self.source(&counted).await {
            Ok(source) => (source, None),
            Err(error) => (None, Some(error)),
        };
        let Counted { name, tags, manifests, blobs, written, pulled, .. } = counted;
        RepositoryEntry { name, tags, manifests, blobs, source, written, pulled, error }
    }

    /// The marker of a push decides, which also repositories with fetched content may have.
    async fn source(&self, counted: &Counted) -> Result<Option<Source>, String> {
        let name: Result<RepositoryName, _> = counted.name.parse();
        let name = name.map_err(|error| format!("this is no name of a repository: {error}"))?;
        Ok(match (&counted.tag, &counted.manifest) {
            _ if counted.is_pushed => Some(Source::Push),
            (Some(tag), _) => Some(self.tag_link(&name, tag).await?.1),
            (None, Some(manifest)) => Some(self.revision_source(&name, manifest).await?),
            (None, None) => None,
        })
    }
}

impl Walk<'_> {
    async fn next(&mut self) -> Result<Option<Counted>, StoreError> {
        loop {
            let Some(listed) = self.page.pop_front() else {
                match self.pages.next().await? {
                    Some(page) => self.page.extend(page),
                    None => return Ok(self.current.take().filter(Counted::has_content)),
                }
                continue;
            };
            let Some((name, own)) = split_repository(&listed.path) else {
                continue;
            };
            let ended = match &mut self.current {
                Some(current) if current.name == name => None,
                current => {
                    current.replace(Counted { name: name.to_owned(), parsed: name.parse().ok(), ..Counted::default() })
                }
            };
            if let Some(current) = &mut self.current {
                current.add(own, listed.modified, self.pulls);
            }
            if let Some(ended) = ended.filter(Counted::has_content) {
                return Ok(Some(ended));
            }
        }
    }
}

impl Counted {
    fn has_content(&self) -> bool {
        self.tags + self.manifests + self.blobs > 0
    }

    fn add(&mut self, own: &str, modified: Option<SystemTime>, pulls: &RecentPulls) {
        match RepositoryObject::parse(own) {
            Some(RepositoryObject::Tag(tag)) => {
                self.tags += 1;
                self.tag.get_or_insert(tag);
            }
            Some(RepositoryObject::Revision(digest)) => {
                self.manifests += 1;
                let pulled = self.parsed.as_ref().and_then(|name| pulls.0.last(name, &digest));
                self.pulled = self.pulled.max(pulled);
                self.manifest.get_or_insert(digest);
            }
            Some(RepositoryObject::Layer(_)) => self.blobs += 1,
            Some(RepositoryObject::Pushed) => self.is_pushed = true,
            _ => return,
        }
        self.written = self.written.max(modified);
    }
}
