//! From verdicts about tags to those about manifests.

use super::graph::Graph;
use super::rule::{Clock, Rule};
use super::tags::{self, TagVerdict};
use crate::registry::gc::facts::{RepositoryFacts, Verdict, Verdicts};

/// The verdicts of a repository, by a rule if one fits it.
pub(super) fn decide(facts: &RepositoryFacts, rule: Option<&Rule>, clock: Clock) -> Verdicts {
    let judged = tags::judge(facts, rule, clock);
    let graph = Graph::new(facts, &judged, rule);
    let stay = graph.stay(rule, clock);
    let pinned = graph.pinned(&stay);
    let used = graph.last_uses(&stay);
    let mut verdicts = Verdicts::default();
    for (index, digest) in graph.digests().enumerate() {
        let verdict = match (stay[index], rule) {
            (false, Some(rule)) => Verdict::Expired(rule.reason),
            _ if pinned[index] => Verdict::Keep,
            _ => Verdict::Evictable(used[index]),
        };
        verdicts.manifests.insert(*digest, verdict);
    }
    for (tag, verdict) in judged {
        let goes = match verdict {
            TagVerdict::Goes => true,
            TagVerdict::With(subject) => graph.find(&subject).is_some_and(|index| !stay[index]),
            TagVerdict::Pinned | TagVerdict::Stays => false,
        };
        if let Some(rule) = rule.filter(|_| goes) {
            verdicts.expired_tags.insert(tag.clone(), rule.reason);
        }
    }
    verdicts
}
