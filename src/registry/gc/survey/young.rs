//! What is too young to go holds what it needs.
//!
//! A verdict says that a manifest goes, but its link, or a tag that names it, was written less than the delay ago: such
//! a key is no candidate. Then the manifest stays, with its children and with what refers to it, because nothing may
//! name what is gone, and a signature lives as long as its image.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::oci::{Digest, Tag};
use crate::registry::gc::facts::{RepositoryFacts, Verdict, Verdicts};

/// Replaces the verdicts of what young keys hold.
pub(super) fn hold_young(facts: &RepositoryFacts, verdicts: &mut Verdicts, is_young: impl Fn(SystemTime) -> bool) {
    let young_tags = facts.tags.values().filter(|tag| is_young(tag.modified)).map(|tag| tag.digest);
    let young_links =
        facts.manifests.iter().filter(|(_, manifest)| is_young(manifest.linked)).map(|(digest, _)| *digest);
    let mut left: Vec<Digest> = young_tags.chain(young_links).collect();
    if left.is_empty() {
        return;
    }
    verdicts.expired_tags.retain(|tag, _| facts.tags.get(tag).is_none_or(|tag| !is_young(tag.modified)));
    let mut referrers: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    for (digest, manifest) in &facts.manifests {
        if let Some(subject) = manifest.subject {
            referrers.entry(subject).or_default().push(*digest);
        }
    }
    let mut tagged: BTreeMap<Digest, Vec<&Tag>> = BTreeMap::new();
    for tag in facts.tags.keys() {
        if let Some(subject) = tag_subject(tag) {
            tagged.entry(subject).or_default().push(tag);
        }
    }
    let mut held = BTreeSet::new();
    while let Some(digest) = left.pop() {
        let Some(manifest) = facts.manifests.get(&digest).filter(|_| held.insert(digest)) else {
            continue;
        };
        verdicts.manifests.insert(digest, Verdict::Keep);
        left.extend(&manifest.children);
        left.extend(referrers.get(&digest).into_iter().flatten());
        for tag in tagged.get(&digest).into_iter().flatten() {
            verdicts.expired_tags.remove(*tag);
            left.extend(facts.tags.get(*tag).map(|tag| tag.digest));
        }
    }
}

/// What a tag refers to by which clients without the referrers API find a digest's referrers (`sha256-<hex>`), or its
/// signatures (`sha256-<hex>.sig`, `.att`, `.sbom`).
fn tag_subject(tag: &Tag) -> Option<Digest> {
    let (algorithm, hex) = tag.as_str().split_once('-')?;
    let hex = hex.split('.').next()?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::oci::Algorithm;
    use crate::registry::cache::Origin;
    use crate::registry::gc::facts::{ManifestFacts, Reason, TagFacts};

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn time(young: bool) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(young.into())
    }

    /// Manifests by number, with their children and subjects; tags with their manifests; which link or tag is young.
    fn held(young: &str) -> (Vec<u8>, Vec<String>) {
        let (origin, pulled, untagged) = (Origin::Pushed, None, None);
        let manifests = [
            (1, vec![2, 3], None),
            (2, vec![], None),
            (3, vec![], None),
            (4, vec![], Some(2)),
            (5, vec![], Some(4)),
            (6, vec![], None),
            (7, vec![], None),
        ];
        let manifests = manifests.map(|(n, children, subject)| {
            let children = children.into_iter().map(digest).collect();
            let subject = subject.map(digest);
            let linked = time(young == n.to_string());
            (digest(n), ManifestFacts { linked, origin, pulled, untagged, children, subject })
        });
        let signature = format!("sha256-{}.sig", digest(3).hex());
        let tags = [("v1", 1), (&signature, 6), ("other", 7)];
        let tags = tags.map(|(tag, n)| {
            let modified = time(young == tag);
            (tag.parse().unwrap(), TagFacts { digest: digest(n), modified, origin })
        });
        let facts = RepositoryFacts { name: "a".parse().unwrap(), tags: tags.into(), manifests: manifests.into() };
        let mut verdicts = Verdicts::default();
        verdicts.expired_tags.extend(facts.tags.keys().map(|tag| (tag.clone(), Reason::Ttl)));
        verdicts.manifests.extend(facts.manifests.keys().map(|digest| (*digest, Verdict::Expired(Reason::Ttl))));
        hold_young(&facts, &mut verdicts, |modified| modified > UNIX_EPOCH);
        let kept = (1..8).filter(|n| verdicts.manifests[&digest(*n)] == Verdict::Keep).collect();
        let tags = facts.tags.keys().filter(|tag| !verdicts.expired_tags.contains_key(*tag));
        (kept, tags.map(|tag| tag.to_string().replace(&signature, "signature")).collect())
    }

    #[test]
    fn a_young_key_holds_all_that_belongs_to_it() {
        let signature = "signature".to_owned();
        assert_eq!(held(""), (vec![], vec![]));
        assert_eq!(held("v1"), (vec![1, 2, 3, 4, 5, 6], vec![signature.clone(), "v1".to_owned()]));
        assert_eq!(held("1"), (vec![1, 2, 3, 4, 5, 6], vec![signature.clone()]));
        assert_eq!(held("2"), (vec![2, 4, 5], vec![]));
        assert_eq!(held("3"), (vec![3, 6], vec![signature]));
        assert_eq!(held("other"), (vec![7], vec!["other".to_owned()]));
    }
}
