//! What rules take and keep. Times are in hours before now, as are the settings.

mod ages;
mod relatives;
mod rules;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::Retention;
use crate::config::{Config, Environment};
use crate::oci::{Algorithm, Digest};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::{ManifestFacts, Reason, RepositoryFacts, TagFacts, Verdict, Verdicts};

fn ago(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000 - hours)
}

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

/// A repository, whose manifests have names here.
struct Repository {
    facts: RepositoryFacts,
    names: Vec<&'static str>,
    recorded_since: SystemTime,
}

/// A repository whose pulls are known for long.
fn repository(name: &str) -> Repository {
    let facts = RepositoryFacts { name: name.parse().unwrap(), tags: BTreeMap::new(), manifests: BTreeMap::new() };
    Repository { facts, names: Vec::new(), recorded_since: ago(9_000) }
}

impl Repository {
    /// A manifest that was written so long ago.
    fn has(mut self, name: &'static str, origin: Origin, linked: u64) -> Self {
        let (pulled, untagged, children, subject) = (None, None, Vec::new(), None);
        let facts = ManifestFacts { linked: ago(linked), origin, pulled, untagged, children, subject };
        self.facts.manifests.insert(digest(name), facts);
        self.names.push(name);
        self
    }

    /// The last manifest was pulled so long ago.
    fn pulled(mut self, hours: u64) -> Self {
        self.last().pulled = Some(ago(hours));
        self
    }

    /// The last manifest lost its tag so long ago.
    fn untagged(mut self, hours: u64) -> Self {
        self.last().untagged = Some(ago(hours));
        self
    }

    /// The last manifest names these.
    fn of(mut self, children: &[&str]) -> Self {
        self.last().children = children.iter().map(|name| digest(name)).collect();
        self
    }

    /// The last manifest refers to this one.
    fn to(mut self, subject: &str) -> Self {
        self.last().subject = Some(digest(subject));
        self
    }

    /// A tag of the last manifest that was written so long ago.
    fn tag(self, tag: &str, hours: u64) -> Self {
        let name = *self.names.last().unwrap();
        let origin = self.facts.manifests[&digest(name)].origin;
        self.tag_of(tag, name, origin, hours)
    }

    fn tag_of(mut self, tag: &str, name: &str, origin: Origin, hours: u64) -> Self {
        let facts = TagFacts { digest: digest(name), modified: ago(hours), origin };
        self.facts.tags.insert(tag.parse().unwrap(), facts);
        self
    }

    fn recorded(mut self, hours: u64) -> Self {
        self.recorded_since = ago(hours);
        self
    }

    fn last(&mut self) -> &mut ManifestFacts {
        let digest = digest(self.names.last().unwrap());
        self.facts.manifests.get_mut(&digest).unwrap()
    }

    fn decide(&self, storage: &str) -> Verdicts {
        let config = Config::parse(&format!("storage: {storage}"), &Environment::default()).unwrap().config;
        let verdicts = Retention::new(&config).decide(&self.facts, ago(0), self.recorded_since);
        assert_eq!(verdicts.manifests.len(), self.facts.manifests.len());
        verdicts
    }

    /// What a rule takes: manifests by their names, then tags.
    fn loses(&self, rule: &str) -> String {
        let verdicts = self.decide(&format!("{{retention: [{{repositories: ['**'], {rule}}}]}}"));
        let goes = |name: &&&str| matches!(verdicts.manifests[&digest(name)], Verdict::Expired(Reason::Rule(0)));
        let mut gone: Vec<_> = self.names.iter().filter(goes).map(|name| (*name).to_owned()).collect();
        gone.sort();
        for (tag, reason) in &verdicts.expired_tags {
            assert_eq!(*reason, Reason::Rule(0));
            gone.push(format!(":{tag}"));
        }
        self.check(&verdicts);
        gone.join(" ")
    }

    /// What holds whatever the rule.
    fn check(&self, verdicts: &Verdicts) {
        let stays = |digest: &Digest| !matches!(verdicts.manifests.get(digest), None | Some(Verdict::Expired(_)));
        let exists = |digest: &&Digest| self.facts.manifests.contains_key(*digest);
        for (digest, facts) in &self.facts.manifests {
            if stays(digest) {
                assert!(facts.children.iter().filter(exists).all(stays), "an index lost a child");
            }
            if let Some(subject) = facts.subject.as_ref().filter(exists) {
                assert!(stays(digest) || !stays(subject), "a referrer goes without its subject");
            }
            if let (Verdict::Evictable(used), true) = (verdicts.manifests[digest], facts.subject.is_none()) {
                for child in facts.children.iter().filter_map(|child| verdicts.manifests.get(child)) {
                    assert!(!matches!(child, Verdict::Evictable(child) if *child < used), "a child is older");
                }
            }
        }
        for (tag, facts) in &self.facts.tags {
            if !verdicts.expired_tags.contains_key(tag) && self.facts.manifests.contains_key(&facts.digest) {
                assert!(stays(&facts.digest), "{tag} names what goes");
            }
        }
    }

    /// What the budget may take, with the hours since its last use.
    fn evictable(&self, storage: &str) -> String {
        let verdicts = self.decide(storage);
        self.check(&verdicts);
        let evictable = |name: &&str| match verdicts.manifests[&digest(name)] {
            Verdict::Evictable(used) => {
                Some(format!("{name}={}", ago(0).duration_since(used).unwrap().as_secs() / 3600))
            }
            Verdict::Keep | Verdict::Expired(_) => None,
        };
        let mut found: Vec<_> = self.names.iter().filter_map(evictable).collect();
        found.sort();
        found.join(" ")
    }
}

/// The tag by which cosign and the spec name what is about a manifest.
fn about(name: &str, ending: &str) -> String {
    format!("sha256-{}{ending}", digest(name).hex())
}
