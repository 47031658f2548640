//! The images of one repository.
//!
//! What images share is told only by all of them, so all are in memory: some 2 KB for an image of ten blobs. A
//! repository with more links than [`MOST`] is not listed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use futures_util::StreamExt;

use super::key_pages::KeyPages;
use super::links::told;
use super::{ImageEntry, ImagesError, Inventory, PlatformEntry, RecentPulls, Source};
use crate::oci::{Descriptor, Digest, Links, Manifest, MediaType, Platform, RepositoryName, Tag};
use crate::registry::runtime::buffered;
use crate::store::{Key, RepositoryObject};

/// How many links or manifests are read at once.
const PARALLEL: usize = 16;
/// The largest configuration of an image in which its platform is looked for, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// How deep indexes are followed.
const MAX_DEPTH: usize = 4;
/// The most links of a repository: a tag with an image of ten blobs has twelve.
const MOST: usize = 2_000_000;

/// A repository in memory.
#[derive(Default)]
struct Contents {
    tags: Vec<(Tag, Option<SystemTime>)>,
    revisions: BTreeMap<Digest, Option<SystemTime>>,
    layers: HashSet<Short>,
}

/// The beginning of a digest, which is enough to tell the content of one repository apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short(u64);

impl Short {
    fn of(digest: &Digest) -> Self {
        Self(digest.value().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }
}

impl Contents {
    /// Returns whether there is room for more.
    fn add(&mut self, object: RepositoryObject, modified: Option<SystemTime>) -> bool {
        match object {
            RepositoryObject::Tag(tag) => self.tags.push((tag, modified)),
            RepositoryObject::Revision(digest) => drop(self.revisions.insert(digest, modified)),
            RepositoryObject::Layer(digest) => drop(self.layers.insert(Short::of(&digest))),
            _ => {}
        }
        self.tags.len() + self.revisions.len() + self.layers.len() <= MOST
    }
}

/// What is kept of a manifest.
struct Summary {
    media_type: MediaType,
    size: u64,
    /// Those that the repository has, and their sizes.
    blobs: Box<[(Short, u64)]>,
    children: Vec<(Digest, Option<String>)>,
    platform: Option<String>,
}

type Summaries = BTreeMap<Digest, Result<Summary, String>>;

/// What images share.
struct Shares<'a> {
    name: &'a RepositoryName,
    pulls: &'a RecentPulls,
    contents: &'a Contents,
    summaries: &'a Summaries,
    /// In how many images a digest is.
    times: HashMap<Short, u32>,
}

/// What an image has in the bucket, each once.
#[derive(Default)]
struct Closure {
    sizes: BTreeMap<Short, u64>,
    manifests: Vec<Digest>,
    /// Why a part of it cannot be read.
    error: Option<String>,
}

impl Inventory {
    /// The images of a repository, those with tags first; `None` if there is no such repository. A request for each
    /// 1,000 keys, for each tag, two for each manifest at most.
    ///
    /// # Errors
    /// The bucket does not list it, or it has more than 2,000,000 links.
    pub async fn images(
        &self,
        name: &RepositoryName,
        pulls: &RecentPulls,
    ) -> Result<Option<Vec<ImageEntry>>, ImagesError> {
        let contents = self.contents(name).await?;
        if contents.tags.is_empty() && contents.revisions.is_empty() {
            return Ok(None);
        }
        let tags = contents.tags.iter().cloned();
        let links = buffered(PARALLEL, tags, async |(tag, written)| {
            let link = self.tag_link(name, &tag).await;
            (tag, written, link)
        });
        let links: Vec<_> = links.collect().await;
        let read = buffered(PARALLEL, contents.revisions.keys().copied(), async |digest| {
            (digest, self.summary(&contents, digest).await)
        });
        let summaries: Summaries = read.collect().await;
        let tagged: BTreeSet<Digest> = links.iter().filter_map(|(_, _, link)| Some(link.as_ref().ok()?.0)).collect();
        let untagged = untagged(&contents, &summaries, &tagged);
        let mut shares = Shares { name, pulls, contents: &contents, summaries: &summaries, times: HashMap::new() };
        for root in tagged.iter().chain(&untagged) {
            shares.count(root);
        }
        let mut entries: Vec<_> =
            links.into_iter().map(|(tag, written, link)| shares.tagged(&tag, written, link)).collect();
        let sources = buffered(PARALLEL, untagged, async |digest| (digest, self.revision_source(name, &digest).await));
        let sources: Vec<_> = sources.collect().await;
        entries.extend(sources.into_iter().map(|(digest, source)| shares.untagged(digest, source)));
        Ok(Some(entries))
    }

    async fn contents(&self, name: &RepositoryName) -> Result<Contents, ImagesError> {
        let mut contents = Contents::default();
        let mut pages = KeyPages::new(&self.store, Key::Repository(name));
        while let Some(page) = pages.next().await? {
            for listed in page {
                let object = RepositoryObject::parse(&format!("_{}", listed.path));
                if object.is_some_and(|object| !contents.add(object, listed.modified)) {
                    return Err(ImagesError::TooMany { name: name.clone(), most: MOST });
                }
            }
        }
        Ok(contents)
    }

    async fn summary(&self, contents: &Contents, digest: Digest) -> Result<Summary, String> {
        let object =
            self.store.get(Key::Blob(&digest)).await.map_err(told)?.ok_or("its bytes are not in the bucket")?;
        let manifest =
            Manifest::new(object.bytes, object.media_type, Some(digest)).map_err(|error| error.to_string())?;
        let Links { blobs, manifests } = manifest.links();
        let platform = match blobs.first() {
            // The first blob of an image is its configuration.
            Some(config)
                if !manifest.media_type().is_index() && contents.layers.contains(&Short::of(config.digest())) =>
            {
                self.platform(config.digest()).await
            }
            _ => None,
        };
        let blobs = blobs.iter().map(|blob| (Short::of(blob.digest()), blob.size()));
        let child = |entry: &Descriptor| (*entry.digest(), entry.platform().map(ToString::to_string));
        Ok(Summary {
            media_type: manifest.media_type().clone(),
            size: manifest.bytes().len() as u64,
            blobs: blobs.filter(|(blob, _)| contents.layers.contains(blob)).collect(),
            children: manifests.iter().map(child).collect(),
            platform,
        })
    }

    /// The platform that the configuration of an image says.
    async fn platform(&self, config: &Digest) -> Option<String> {
        let config = self.store.get_up_to(Key::Blob(config), MAX_CONFIG).await.ok()??;
        // It has the fields of a platform, among others (image-spec, config.md).
        let platform: Platform = serde_json::from_slice(&config.bytes).ok()?;
        Some(platform.to_string())
    }
}

/// The manifests that neither a tag nor an index of the repository names.
fn untagged(contents: &Contents, summaries: &Summaries, tagged: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    let mut untagged: BTreeSet<Digest> =
        contents.revisions.keys().filter(|digest| !tagged.contains(*digest)).copied().collect();
    for (digest, _) in summaries.values().flatten().flat_map(|summary| &summary.children) {
        untagged.remove(digest);
    }
    untagged
}

impl Shares<'_> {
    fn closure(&self, root: &Digest) -> Closure {
        let mut closure = Closure::default();
        let mut next = vec![(*root, 0)];
        while let Some((digest, depth)) = next.pop() {
            let summary = match self.summaries.get(&digest) {
                Some(Ok(summary)) => summary,
                Some(Err(cause)) => {
                    closure.error.get_or_insert_with(|| format!("{digest}: {cause}"));
                    continue;
                }
                // An image of another platform, which was never pulled.
                None => continue,
            };
            if closure.sizes.insert(Short::of(&digest), summary.size).is_some() {
                continue;
            }
            closure.manifests.push(digest);
            closure.sizes.extend(summary.blobs.iter().copied());
            if depth < MAX_DEPTH {
                next.extend(summary.children.iter().map(|(child, _)| (*child, depth + 1)));
            }
        }
        closure
    }

    fn count(&mut self, root: &Digest) {
        for content in self.closure(root).sizes.into_keys() {
            *self.times.entry(content).or_default() += 1;
        }
    }

    fn tagged(&self, tag: &Tag, written: Option<SystemTime>, link: Result<(Digest, Source), String>) -> ImageEntry {
        let entry = match link {
            Ok((digest, source)) => self.image(digest, Ok(source)),
            Err(error) => ImageEntry {
                tag: None,
                digest: None,
                media_type: None,
                source: None,
                written: None,
                pulled: None,
                size: 0,
                own: 0,
                platforms: Vec::new(),
                error: Some(error),
            },
        };
        ImageEntry { tag: Some(tag.to_string()), written, ..entry }
    }

    fn untagged(&self, digest: Digest, source: Result<Source, String>) -> ImageEntry {
        let written = self.contents.revisions.get(&digest).copied().flatten();
        ImageEntry { written, ..self.image(digest, source) }
    }

    fn image(&self, digest: Digest, source: Result<Source, String>) -> ImageEntry {
        let Closure { sizes, manifests, error: unread } = self.closure(&digest);
        let summary = self.summaries.get(&digest);
        let absent = summary.is_none().then(|| "the repository does not have its manifest".to_owned());
        let (source, of_link) = match source {
            Ok(source) => (Some(source), None),
            Err(error) => (None, Some(error)),
        };
        let summary = summary.and_then(|summary| summary.as_ref().ok());
        ImageEntry {
            tag: None,
            digest: Some(digest),
            media_type: summary.map(|summary| summary.media_type.clone()),
            source,
            written: None,
            pulled: manifests.iter().filter_map(|digest| self.pulls.0.last(self.name, digest)).max(),
            size: total(sizes.values()),
            own: total(sizes.iter().filter(|(content, _)| self.times.get(content) == Some(&1)).map(|(_, size)| size)),
            platforms: summary.map_or_else(Vec::new, |summary| self.platforms(&digest, summary)),
            error: absent.or(unread).or(of_link),
        }
    }

    fn platforms(&self, digest: &Digest, summary: &Summary) -> Vec<PlatformEntry> {
        let entry = |digest: &Digest, platform: Option<&String>| PlatformEntry {
            platform: platform.cloned(),
            digest: *digest,
            size: total(self.closure(digest).sizes.values()),
            is_stored: self.summaries.contains_key(digest),
        };
        if summary.media_type.is_index() {
            return summary.children.iter().map(|(child, platform)| entry(child, platform.as_ref())).collect();
        }
        summary.platform.iter().map(|platform| entry(digest, Some(platform))).collect()
    }
}

/// Descriptors may say any sizes.
fn total<'a>(sizes: impl Iterator<Item = &'a u64>) -> u64 {
    sizes.fold(0, |all, size| all.saturating_add(*size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_repository_in_memory_is_bounded() {
        let mut contents = Contents::default();
        let layer = |number: usize| {
            let mut value = [0; 32];
            value[..8].copy_from_slice(&number.to_le_bytes());
            RepositoryObject::Layer(Digest::from_value(Algorithm::Sha256, &value).unwrap())
        };
        assert!((0..MOST).all(|number| contents.add(layer(number), None)));
        assert!(contents.add(layer(7), None), "it has that already");
        assert!(!contents.add(layer(MOST), None));
    }
}
