//! Which tags of a repository go, apart from those that live and die with another manifest.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::rule::{Clock, Rule};
use crate::oci::{Algorithm, Digest, Tag};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::{ManifestFacts, RepositoryFacts, TagFacts};

/// The endings of tags by which cosign names what it attaches to a manifest. Without one, it is the referrers tag schema
/// of the distribution spec.
const ATTACHED: [&str; 3] = [".sig", ".att", ".sbom"];
/// How many digits of a digest such a tag has at most (distribution-spec, "Referrers Tag Schema").
const TAG_DIGITS: usize = 64;

/// What a rule says about a tag by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagVerdict {
    /// It stays, whatever the budget.
    Pinned,
    /// It stays, unless its manifest makes way for the budget.
    Stays,
    /// It goes.
    Goes,
    /// It goes with this manifest, which it is about; it stays with it.
    With(Digest),
}

/// The verdict about each tag.
pub(super) fn judge<'a>(
    facts: &'a RepositoryFacts,
    rule: Option<&Rule>,
    clock: Clock,
) -> BTreeMap<&'a Tag, TagVerdict> {
    let counted = rule.and_then(|rule| Some((rule, rule.newest?)));
    let newest = counted.map(|(rule, most)| nth_newest(facts, rule, most));
    let judge = |(tag, it): (&'a Tag, &'a TagFacts)| {
        let stays = if it.origin == Origin::Pushed { TagVerdict::Pinned } else { TagVerdict::Stays };
        let Some(rule) = rule.filter(|rule| rule.touches(it.origin)) else {
            return (tag, stays);
        };
        if rule.keeps(tag) {
            return (tag, TagVerdict::Pinned);
        }
        if let Some(subject) = subject(facts, tag, it) {
            return (tag, TagVerdict::With(subject));
        }
        if newest.flatten().is_some_and(|newest| it.modified >= newest) {
            return (tag, TagVerdict::Pinned);
        }
        let used = facts.manifests.get(&it.digest).map_or(it.modified, |manifest| it.modified.max(used(manifest)));
        let is_unpulled = rule.unpulled.is_some_and(|period| clock.is_unused_for(period, used));
        (tag, if is_unpulled || rule.counts_only() { TagVerdict::Goes } else { stays })
    };
    facts.tags.iter().map(judge).collect()
}

/// When a manifest was last pulled, or written.
pub(super) fn used(manifest: &ManifestFacts) -> SystemTime {
    manifest.pulled.map_or(manifest.linked, |pulled| pulled.max(manifest.linked))
}

/// When the last of so many tags was written, from the newest on, of those that count. Tags that were written in the
/// same second as that one stay, too, because nothing tells which is newer. `None`: none counts.
fn nth_newest(facts: &RepositoryFacts, rule: &Rule, most: usize) -> Option<SystemTime> {
    let counts = |(tag, it): &(&Tag, &TagFacts)| {
        rule.touches(it.origin) && !rule.keeps(tag) && subject(facts, tag, it).is_none()
    };
    let mut written: Vec<SystemTime> = facts.tags.iter().filter(counts).map(|(_, it)| it.modified).collect();
    written.sort_unstable_by(|a, b| b.cmp(a));
    written.get(most.saturating_sub(1)).or(written.last()).copied()
}

/// The manifest of this repository that a tag is about by its name: `sha256-<hex>`, perhaps with an ending of cosign's.
pub(super) fn subject(facts: &RepositoryFacts, tag: &Tag, it: &TagFacts) -> Option<Digest> {
    let text = tag.as_str();
    let stem = ATTACHED.iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(text);
    let (algorithm, hex) = stem.split_once('-')?;
    let algorithm = Algorithm::named(algorithm)?;
    // The tag of a longer digest has its first digits only.
    let padding = algorithm.size() * 2 - TAG_DIGITS;
    let least: Digest = format!("{}:{hex}{:0<padding$}", algorithm.as_str(), "").parse().ok()?;
    let (found, _) = facts.manifests.range(least..).next()?;
    let is_found = found.algorithm() == algorithm && found.hex().starts_with(hex);
    (is_found && *found != it.digest).then_some(*found)
}
