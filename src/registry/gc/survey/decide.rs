//! What goes of a repository, and until when its manifests are needed. Pure.

use std::collections::BTreeMap;

use super::content::Content;
use super::needed::{Age, Needed, Share};
use super::policy::Policy;
use super::repository::{Link, TagLinks};
use super::young::hold_young;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::{CandidateKind, ManifestFacts, RepositoryFacts, Verdicts};
use crate::store::Key;

/// A key that is needed until some time, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidacy {
    pub(super) kind: CandidateKind,
    pub(super) needed: Needed,
    pub(super) size: u64,
    pub(super) path: String,
}

/// A manifest of the survey.
#[derive(Clone, Copy, Debug)]
pub(super) struct ManifestUse {
    pub(super) needed: Needed,
    /// The number of its repository.
    pub(super) repository: u32,
    pub(super) is_pushed: bool,
}

/// What was decided of a repository.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// In the order of their digests.
    pub(super) manifests: Vec<ManifestUse>,
    pub(super) candidates: Vec<Candidacy>,
    /// Nothing of it goes, because not all of it was read.
    pub(super) is_whole: bool,
}

pub(super) fn decide(content: &Content, policy: &dyn Policy, age: Age) -> Decision {
    let repository = &content.repository;
    let is_whole = repository.is_partial || !content.unreadable.is_empty();
    let needs = if is_whole { Needs::default() } else { Needs::new(content, policy, age) };
    let manifests = repository.revisions.keys().map(|digest| {
        let found = content.manifests.get(digest);
        let needed = if is_whole { Needed::FOREVER } else { needs.of_manifest(digest) };
        let is_pushed = found.is_some_and(|manifest| manifest.origin == Origin::Pushed);
        ManifestUse { needed, repository: repository.index, is_pushed }
    });
    let manifests = manifests.collect();
    let candidates = if is_whole { Vec::new() } else { needs.candidates(content, age) };
    Decision { manifests, candidates, is_whole }
}

/// Until when what a repository has is needed.
#[derive(Debug, Default)]
struct Needs {
    manifests: BTreeMap<Digest, Needed>,
    tags: BTreeMap<Tag, Needed>,
}

impl Needs {
    fn new(content: &Content, policy: &dyn Policy, age: Age) -> Self {
        let facts = facts(content, policy, age);
        let mut verdicts = policy.verdicts(&facts);
        hold_young(&facts, &mut verdicts, |modified| !age.is_old(Some(modified)));
        let Verdicts { expired_tags, manifests: verdicts } = verdicts;
        let share = Share::of(&facts.name);
        let manifests = facts.manifests.keys().map(|digest| {
            let verdict = verdicts.get(digest).copied();
            (*digest, verdict.map_or(Needed::FOREVER, |verdict| Needed::new(verdict, share)))
        });
        let manifests: BTreeMap<_, _> = manifests.collect();
        let tags = content.tags.iter().map(|(tag, found)| {
            let needed = match (expired_tags.get(tag), manifests.get(&found.digest)) {
                (Some(reason), Some(_)) => Needed::expired(*reason),
                (None, Some(needed)) => *needed,
                // It names nothing. A push that is under way wrote its manifest after the list.
                (_, None) if !age.is_old(Some(found.modified)) => Needed::FOREVER,
                (_, None) => Needed::NOT,
            };
            (tag.clone(), needed)
        });
        Self { tags: tags.collect(), manifests }
    }

    fn of_manifest(&self, digest: &Digest) -> Needed {
        self.manifests.get(digest).copied().unwrap_or(Needed::NOT)
    }

    fn candidates(&self, content: &Content, age: Age) -> Vec<Candidacy> {
        let (repository, name) = (&content.repository, &content.repository.name);
        let mut candidates = Vec::new();
        let mut add = |kind, link: Link, needed, key: Key<'_>| {
            if needed != Needed::FOREVER && age.is_old(link.modified) {
                candidates.push(Candidacy { kind, needed, size: link.size, path: key.to_string() });
            }
        };
        for (tag, TagLinks { current, history, push }) in &repository.tags {
            // A tag without a link is none: of a push or a delete that ended half-way, or that is under way.
            let needed = self.tags.get(tag).copied().unwrap_or(Needed::NOT);
            if let Some(link) = current
                && let Some(found) = content.tags.get(tag)
            {
                // As it was read, after it was listed.
                let link = Link { modified: Some(found.modified), ..*link };
                add(CandidateKind::Tag, link, needed, Key::Tag(name, tag));
            }
            for (digest, link) in history {
                // It goes with its tag, or with its manifest.
                let needed = needed.min(self.of_manifest(digest));
                add(CandidateKind::TagHistory, *link, needed, Key::TagHistory(name, tag, digest));
            }
            if let Some(link) = push {
                add(CandidateKind::TagPush, *link, needed, Key::TagPush(name, tag));
            }
        }
        for (subject, digest, link) in &repository.referrers {
            let needed = self.of_manifest(digest);
            add(CandidateKind::Referrer, *link, needed, Key::Referrer(name, subject, digest));
        }
        for (digest, link) in &repository.revisions {
            let modified = content.manifests.get(digest).map_or(link.modified, |manifest| manifest.linked);
            let link = Link { modified, ..*link };
            add(CandidateKind::Revision, link, self.of_manifest(digest), Key::Revision(name, digest));
        }
        candidates
    }
}

/// What retention decides by.
fn facts(content: &Content, policy: &dyn Policy, age: Age) -> RepositoryFacts {
    let name: &RepositoryName = &content.repository.name;
    let manifests = content.manifests.iter().map(|(digest, manifest)| {
        let facts = ManifestFacts {
            // Without a time, it was written just now.
            linked: manifest.linked.unwrap_or(age.now),
            origin: manifest.origin,
            pulled: policy.last_pull(name, digest),
            untagged: manifest.untagged,
            children: manifest.children.clone(),
            subject: manifest.subject,
        };
        (*digest, facts)
    });
    let tags = content.tags.iter().filter(|(_, tag)| content.manifests.contains_key(&tag.digest));
    let tags = tags.map(|(tag, facts)| (tag.clone(), facts.clone()));
    RepositoryFacts { name: name.clone(), tags: tags.collect(), manifests: manifests.collect() }
}
