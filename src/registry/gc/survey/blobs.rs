//! The list of `blobs/`, beside what names each: which blobs and layer links nothing needs, and how many bytes there are
//! of what.
//!
//! A manifest that has a link now pins what it names, and its own bytes, also if it expires in this survey, or is condemned
//! since an earlier one: a push that names the manifest keeps that, and nothing else. So bytes go a round after the last
//! manifest that names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::candidates::CandidateWriter;
use super::decide::{Candidacy, ManifestUse};
use super::error::SurveyError;
use super::needed::{Age, Needed};
use super::pages::Pages;
use super::reader::Reader;
use super::records::{Namer, Record, SortedRecords};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::gc::facts::CandidateKind;
use crate::store::{Key, Listed, blob_digest};

/// How many objects, and of how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::registry) struct Sizes {
    pub(in crate::registry) count: u64,
    pub(in crate::registry) bytes: u64,
}

impl Sizes {
    pub(super) const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A repository, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct RepositoryUsage {
    pub(in crate::registry) name: RepositoryName,
    pub(in crate::registry) tags: u64,
    pub(in crate::registry) manifests: u64,
    /// Blobs and manifests that only this repository names.
    pub(in crate::registry) own: Sizes,
    /// Those that others name, too.
    pub(in crate::registry) shared: Sizes,
    /// Nothing of it goes, because it was not read whole.
    pub(in crate::registry) is_kept_whole: bool,
}

/// What the list of blobs said.
#[derive(Clone, Debug, Default)]
pub(super) struct BlobTotals {
    pub(super) all: Sizes,
    /// Of these, blobs that a pushed manifest names, that only manifests of upstreams name, and that nothing names.
    pub(super) pushed: Sizes,
    pub(super) upstream: Sizes,
    pub(super) unnamed: Sizes,
    pub(super) strangers: u64,
    /// Manifests that have links, and no bytes: how many, and the first of them.
    pub(super) gone: u64,
    pub(super) first_gone: BTreeSet<Digest>,
    /// Bytes that the budget cannot take, and those that it can, by the hour of their last use.
    pub(super) fixed: u64,
    pub(super) by_hour: BTreeMap<u64, u64>,
}

/// Goes through the blobs.
pub(super) struct BlobPass<'a> {
    pub(super) manifests: &'a [ManifestUse],
    pub(super) repositories: &'a mut [RepositoryUsage],
    pub(super) age: Age,
    pub(super) writer: &'a CandidateWriter,
    pub(super) totals: BlobTotals,
    candidates: Vec<Candidacy>,
    /// Blobs that manifests name. They may go once these are gone.
    later: Vec<Candidacy>,
}

impl<'a> BlobPass<'a> {
    pub(super) fn new(
        manifests: &'a [ManifestUse],
        repositories: &'a mut [RepositoryUsage],
        age: Age,
        writer: &'a CandidateWriter,
    ) -> Self {
        Self {
            manifests,
            repositories,
            age,
            writer,
            totals: BlobTotals::default(),
            candidates: Vec::new(),
            later: Vec::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        reader: &Arc<Reader>,
        mut records: SortedRecords,
    ) -> Result<BlobTotals, SurveyError> {
        let mut list = BlobList { pages: Pages::new(reader, Key::Blobs), page: Vec::new().into_iter(), strangers: 0 };
        let mut blob = list.next().await?;
        for part in SortedRecords::parts() {
            let records = records.part(part).await?;
            let mut left = &records[..];
            loop {
                let listed = blob.as_ref().filter(|(digest, _)| part_of(digest) == part);
                let named = left.first().map(|record| record.digest);
                let digest = match (listed, named) {
                    (Some((listed, _)), Some(named)) => named.min(*listed),
                    (Some((listed, _)), None) => *listed,
                    (None, Some(named)) => named,
                    (None, None) => break,
                };
                let (of_digest, rest) = left.split_at(left.partition_point(|record| record.digest == digest));
                left = rest;
                let is_listed = listed.is_some_and(|(listed, _)| *listed == digest);
                let listed = if is_listed { blob.take() } else { None };
                self.judge(digest, of_digest, listed.as_ref().map(|(_, listed)| listed));
                if is_listed {
                    blob = list.next().await?;
                }
                if self.candidates.len() + self.later.len() >= BATCH {
                    self.write().await?;
                }
            }
        }
        // The parts are in the order of the list, so nothing is left.
        if let Some((digest, _)) = blob {
            return Err(SurveyError::Order { directory: Key::Blob(&digest).to_string() });
        }
        self.write().await?;
        self.totals.strangers = list.strangers;
        Ok(self.totals)
    }

    async fn write(&mut self) -> Result<(), SurveyError> {
        self.writer.add(&self.candidates).await?;
        self.writer.add_later(&self.later).await?;
        self.candidates.clear();
        self.later.clear();
        Ok(())
    }

    /// One digest: what names it, and the blob, if there is one.
    fn judge(&mut self, digest: Digest, records: &[Record], blob: Option<&Listed>) {
        let is_layer = |namer: Namer| matches!(namer, Namer::OldLayer(..) | Namer::YoungLayer(_));
        let (manifests, layers) = records.split_at(records.partition_point(|record| !is_layer(record.namer)));
        let mut uses: Vec<ManifestUse> = manifests.iter().filter_map(|record| self.used(record.namer)).collect();
        uses.sort_unstable_by_key(|used| used.repository);
        let mut needed = uses.iter().map(|used| used.needed).max().unwrap_or(Needed::NOT);
        let mut layers: Vec<Namer> = layers.iter().map(|record| record.namer).collect();
        layers.sort_unstable_by_key(|layer| repository(*layer));
        let mut left = &uses[..];
        for layer in layers {
            let number = repository(layer);
            left = &left[left.partition_point(|used| used.repository < number)..];
            let (own, rest) = left.split_at(left.partition_point(|used| used.repository == number));
            left = rest;
            let Some(of) = self.repositories.get(number as usize) else {
                continue;
            };
            match layer {
                Namer::OldLayer(_, size) if !of.is_kept_whole && own.is_empty() => {
                    let (path, needed) = (Key::Layer(&of.name, &digest).to_string(), Needed::NOT);
                    self.candidates.push(Candidacy { kind: CandidateKind::Layer, needed, size: size.into(), path });
                }
                // It goes once the manifest is gone that names it.
                Namer::OldLayer(..) if !of.is_kept_whole => {}
                // It stays, and so does what it names.
                _ => needed = Needed::FOREVER,
            }
        }
        let Some(blob) = blob else {
            let links = manifests.iter().filter(|record| matches!(record.namer, Namer::Own(_))).count() as u64;
            self.totals.gone += links;
            if links > 0 && self.totals.first_gone.len() < MOST_GONE {
                self.totals.first_gone.insert(digest);
            }
            return;
        };
        self.count(&uses, blob.size);
        if !self.age.is_old(blob.modified) {
            needed = Needed::FOREVER;
        }
        if needed == Needed::FOREVER {
            self.totals.fixed += blob.size;
            return;
        }
        if !needed.is_expired() {
            *self.totals.by_hour.entry(needed.hour()).or_default() += blob.size;
        }
        let path = Key::Blob(&digest).to_string();
        let candidacy = Candidacy { kind: CandidateKind::Blob, needed, size: blob.size, path };
        if uses.is_empty() { &mut self.candidates } else { &mut self.later }.push(candidacy);
    }

    fn used(&self, namer: Namer) -> Option<ManifestUse> {
        match namer {
            Namer::Manifest(number) | Namer::Own(number) => self.manifests.get(number as usize).copied(),
            Namer::OldLayer(..) | Namer::YoungLayer(_) => None,
        }
    }

    fn count(&mut self, uses: &[ManifestUse], size: u64) {
        let totals = &mut self.totals;
        totals.all.add(size);
        let origin = match uses {
            [] => &mut totals.unnamed,
            uses if uses.iter().any(|used| used.is_pushed) => &mut totals.pushed,
            _ => &mut totals.upstream,
        };
        origin.add(size);
        let is_shared = uses.first().map(|used| used.repository) != uses.last().map(|used| used.repository);
        for of_one in uses.chunk_by(|one, next| one.repository == next.repository) {
            if let Some(usage) = self.repositories.get_mut(of_one[0].repository as usize) {
                let sizes = if is_shared { &mut usage.shared } else { &mut usage.own };
                sizes.add(size);
            }
        }
    }
}

/// How many candidates are spooled at once.
const BATCH: usize = 1000;
/// How many manifests without bytes are remembered. The next surveys come to the others.
const MOST_GONE: usize = 10_000;

/// The number of a layer link's repository.
const fn repository(layer: Namer) -> u32 {
    match layer {
        Namer::Manifest(number) | Namer::Own(number) | Namer::OldLayer(number, _) | Namer::YoungLayer(number) => number,
    }
}

fn part_of(digest: &Digest) -> (Algorithm, u8) {
    (digest.algorithm(), digest.value()[0])
}

/// The blobs of the bucket, in order.
struct BlobList {
    pages: Pages,
    page: std::vec::IntoIter<Listed>,
    strangers: u64,
}

impl BlobList {
    async fn next(&mut self) -> Result<Option<(Digest, Listed)>, SurveyError> {
        loop {
            let Some(listed) = self.page.next() else {
                self.page = self.pages.next().await?.into_iter();
                if self.page.len() == 0 {
                    return Ok(None);
                }
                continue;
            };
            match blob_digest(&format!("{}{}", Key::Blobs, listed.path)) {
                Some(digest) => return Ok(Some((digest, listed))),
                None => self.strangers += 1,
            }
        }
    }
}
