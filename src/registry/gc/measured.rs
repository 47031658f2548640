//! Surveys for tests and benches, with rules of their own.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::facts::{Candidate, Reason, RepositoryFacts, Verdict, Verdicts};
use super::survey::{DEFAULT_RATE, Policy, RepositoryUsage, SurveyOptions, survey};
use crate::oci::{Digest, RepositoryName};
use crate::registry::cache::Origin;
use crate::store::Store;

/// What a rule says of a manifest or a tag.
#[derive(Clone, Copy, Debug)]
pub enum Ruled {
    /// It stays.
    Keep,
    /// It stays as long as there is room. When it was last used.
    Used(SystemTime),
    /// It goes, by the first rule.
    Expired,
}

/// A manifest: the repository, whether it was pushed, and its digest.
type OfManifest = dyn Fn(&str, bool, &Digest) -> Ruled + Send + Sync;
/// A tag: the repository and the tag.
type OfTag = dyn Fn(&str, &str) -> bool + Send + Sync;

/// Rules in place of retention, and options.
pub struct SurveyRules {
    /// `storage.maintenance.gc.delay`
    pub delay: Duration,
    /// `storage.maxsize`, in bytes.
    pub max_size: Option<u64>,
    /// Where temporary files are made.
    pub directory: Option<PathBuf>,
    /// Requests a second.
    pub rate: NonZeroU32,
    /// Whether the rules ask where content came from.
    pub asks_origins: bool,
    /// Says of each manifest whether it stays.
    pub manifest: Box<OfManifest>,
    /// Says of each tag whether it goes.
    pub tag: Box<OfTag>,
    /// Whether the result has what retention was asked about.
    pub shows_facts: bool,
    /// That.
    pub facts: Mutex<Vec<Value>>,
}

impl Default for SurveyRules {
    /// Nothing goes but what nothing needs.
    fn default() -> Self {
        Self {
            delay: Duration::from_hours(24),
            max_size: None,
            directory: None,
            rate: DEFAULT_RATE,
            asks_origins: false,
            manifest: Box::new(|_, _, _| Ruled::Keep),
            tag: Box::new(|_, _| false),
            shows_facts: false,
            facts: Mutex::default(),
        }
    }
}

impl Policy for SurveyRules {
    fn asks_origins(&self, _: &RepositoryName) -> bool {
        self.asks_origins
    }

    fn last_pull(&self, _: &RepositoryName, _: &Digest) -> Option<SystemTime> {
        None
    }

    fn verdicts(&self, facts: &RepositoryFacts) -> Verdicts {
        let name = facts.name.as_str();
        if self.shows_facts {
            self.facts.lock().unwrap_or_else(PoisonError::into_inner).push(shown(facts));
        }
        let expired = facts.tags.keys().filter(|tag| (self.tag)(name, tag.as_str()));
        let manifests = facts.manifests.iter().map(|(digest, manifest)| {
            let verdict = match (self.manifest)(name, manifest.origin == Origin::Pushed, digest) {
                Ruled::Keep => Verdict::Keep,
                Ruled::Used(used) => Verdict::Evictable(used),
                Ruled::Expired => Verdict::Expired(Reason::Rule(0)),
            };
            (*digest, verdict)
        });
        Verdicts {
            expired_tags: expired.map(|tag| (tag.clone(), Reason::Rule(0))).collect(),
            manifests: manifests.collect(),
        }
    }
}

fn shown(facts: &RepositoryFacts) -> Value {
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let is_pushed = |origin| origin == Origin::Pushed;
    let tags = facts.tags.iter().map(|(tag, of)| {
        let modified = seconds(of.modified);
        (tag.to_string(), json!({ "digest": of.digest, "modified": modified, "pushed": is_pushed(of.origin) }))
    });
    let manifests = facts.manifests.iter().map(|(digest, of)| {
        let shown = json!({
            "linked": seconds(of.linked), "pushed": is_pushed(of.origin), "pulled": of.pulled.map(seconds),
            "untagged": of.untagged.map(seconds), "children": of.children, "subject": of.subject,
        });
        (digest.to_string(), shown)
    });
    let (tags, manifests): (Map<_, _>, Map<_, _>) = (tags.collect(), manifests.collect());
    json!({ "name": facts.name.as_str(), "tags": tags, "manifests": manifests })
}

pub(crate) async fn measured_survey(store: &Store, rules: &SurveyRules) -> Result<Value, String> {
    let options = SurveyOptions {
        delay: rules.delay,
        max_size: rules.max_size,
        directory: rules.directory.clone(),
        rate: rules.rate,
        remembers: true,
    };
    // A task may run it.
    let survey: BoxFuture<'_, _> = Box::pin(survey(store, rules, &options));
    let found = survey.await.map_err(|error| error.to_string())?;
    let candidate = |candidate: Candidate| {
        json!({
            "kind": format!("{:?}", candidate.kind),
            "path": candidate.path,
            "size": candidate.size,
            "reason": format!("{:?}", candidate.reason),
        })
    };
    let candidates = found.candidates().map(|found| found.map(candidate).map_err(|error| error.to_string()));
    let candidates = candidates.collect::<Result<Vec<_>, _>>()?;
    let repository = |usage: &RepositoryUsage| {
        json!({
            "name": usage.name.as_str(), "tags": usage.tags, "manifests": usage.manifests,
            "own": usage.own, "shared": usage.shared, "whole": usage.is_kept_whole,
        })
    };
    let repositories: Vec<_> = found.repositories().iter().map(repository).collect();
    let facts = std::mem::take(&mut *rules.facts.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(json!({
        "totals": found.totals(), "repositories": repositories, "candidates": candidates, "facts": facts,
    }))
}
