//! What a repository keeps: `storage.retention`, `proxy.ttl`, and what `storage.maxsize` may take.
//!
//! Pure: from what a survey knows of a repository to verdicts about its tags and manifests. The first rule that fits the
//! repository decides; without one, everything stays, and what came from an upstream may make way for the budget. What
//! is uncertain stays.

mod graph;
mod rule;
mod tags;
mod verdicts;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use super::facts::{Reason, RepositoryFacts, Verdicts};
use crate::config::Config;
use crate::oci::RepositoryName;
use rule::{Clock, Rule};

/// How far back the use of content is asked for by `storage.maxsize`. What was not used since then makes way in the
/// order in which it was written.
const BUDGET_HISTORY: Duration = Duration::from_hours(90 * 24);

/// The rules of a configuration.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Retention {
    rules: Vec<Rule>,
    /// There is a `storage.maxsize`.
    has_budget: bool,
}

impl Retention {
    /// The rules of `storage.retention`, and behind them that of `proxy.ttl`, which counts with
    /// `storage.maintenance.gc.enabled`.
    pub(in crate::registry) fn new(config: &Config) -> Self {
        let (storage, hosts) = (&config.storage, config.proxy.host_names());
        // The configuration has a thousand rules at most.
        let positions = 0..=u16::MAX;
        let rules = positions.zip(&storage.retention).map(|(position, rule)| Rule::new(rule, position, &hosts));
        let ttl = config.proxy.ttl.filter(|ttl| !ttl.is_zero() && storage.maintenance.gc.enabled);
        Self { rules: rules.chain(ttl.map(Rule::of_ttl)).collect(), has_budget: storage.maxsize.is_some() }
    }

    /// How far back the use of content must be known; `None` if no rule asks for it.
    pub(in crate::registry) fn history(&self) -> Option<Duration> {
        let budget = self.has_budget.then_some(BUDGET_HISTORY);
        self.rules.iter().filter_map(Rule::longest_period).chain(budget).max()
    }

    /// Whether what goes of a repository may depend on where its content came from.
    pub(in crate::registry) fn asks_origins(&self, name: &RepositoryName) -> bool {
        self.has_budget || self.rule_of(name).is_some()
    }

    /// Whether what goes for this reason would stay if it had been pulled a moment ago.
    pub(in crate::registry) fn counts_pulls(&self, reason: Reason) -> bool {
        match reason {
            Reason::Rule(position) => {
                self.rules.get(usize::from(position)).is_some_and(|rule| rule.longest_period().is_some())
            }
            Reason::Ttl | Reason::Budget => true,
            Reason::Unneeded => false,
        }
    }

    /// What stays and what goes. `now` is the bucket's clock; before `recorded_since`, pulls are not known.
    pub(in crate::registry) fn decide(
        &self,
        facts: &RepositoryFacts,
        now: SystemTime,
        recorded_since: SystemTime,
    ) -> Verdicts {
        verdicts::decide(facts, self.rule_of(&facts.name), Clock { now, recorded_since })
    }

    fn rule_of(&self, name: &RepositoryName) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(name))
    }
}
