//! `storage.retention`: what goes, by repository. A rule that has no effect is an error at start, because an operator
//! would find it out from the bill, or too late.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::host_names::{HostNames, PatternScope};
use super::patterns::{RepositoryPattern, TagPattern};
use super::{durations, lists, values};

/// The shortest time after which unused content goes: the use of the last minutes before a crash is not recorded.
pub(super) const SHORTEST: Duration = Duration::from_hours(1);
/// The most rules.
const RULES: usize = 1_000;

/// One of `storage.retention`. The first rule with a pattern that a repository fits decides about all of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionRule {
    /// The repositories: `*` is within a component of the name, `**` any components. A pattern may begin with the host
    /// of an upstream.
    #[serde(deserialize_with = "lists::list")]
    pub repositories: Vec<RepositoryPattern>,
    /// Which of their content the rule may touch.
    #[serde(deserialize_with = "values::any_case")]
    pub from: ContentOrigin,
    /// Tags and manifests go that were neither pulled nor written for so long.
    #[serde(with = "durations::optional")]
    pub unpulled: Option<Duration>,
    /// Manifests go that had no tag, and were not pulled, for so long.
    #[serde(with = "durations::optional")]
    pub untagged: Option<Duration>,
    /// Tags that stay all the same.
    pub keep: KeptTags,
}

/// `storage.retention[].from`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentOrigin {
    /// What was copied from an upstream.
    #[default]
    Upstream,
    /// What clients pushed.
    Push,
    /// Both.
    Any,
}

/// `storage.retention[].keep`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeptTags {
    /// So many of the tags that were written last; without `unpulled`, the others go.
    pub newest: Option<usize>,
    /// Tags that these patterns match. They do not count for `newest`.
    #[serde(deserialize_with = "lists::list")]
    pub tags: Vec<TagPattern>,
}

impl RetentionRule {
    /// Whether it lets anything go. One that does not keeps its repositories from later rules.
    #[must_use]
    pub fn expires_anything(&self) -> bool {
        self.unpulled.is_some() || self.untagged.is_some() || self.keep.newest.is_some()
    }

    /// Whether it fits every repository that this pattern fits.
    fn covers(&self, narrow: &RepositoryPattern, hosts: &HostNames) -> bool {
        let covers = |wide: &RepositoryPattern| {
            let scope = hosts.scope_of(wide);
            let is_same = scope == PatternScope::All || scope == hosts.scope_of(narrow);
            let patterns = hosts.resolve_pattern(wide).zip(hosts.resolve_pattern(narrow));
            is_same && patterns.is_some_and(|(wide, narrow)| wide.covers(&narrow))
        };
        self.repositories.iter().any(covers)
    }

    /// The index of the last of the rules before it that are needed to cover it; `None` if they do not.
    fn covered_by(&self, before: &[Self], hosts: &HostNames) -> Option<usize> {
        let by = |pattern| before.iter().position(|rule| rule.covers(pattern, hosts));
        let by: Option<Vec<usize>> = self.repositories.iter().map(by).collect();
        by?.into_iter().max()
    }
}

/// Checks rules, for upstreams with these hosts. Adds every mistake.
pub(super) fn check(rules: &[RetentionRule], hosts: &HostNames, mistakes: &mut Vec<ConfigError>) {
    if rules.len() > RULES {
        mistakes.push(ConfigError::value("storage.retention", format!("has more than {RULES} rules")));
        return;
    }
    for (index, rule) in rules.iter().enumerate() {
        let before = mistakes.len();
        check_rule(rule, hosts, &mut |field, message| {
            mistakes.push(ConfigError::value(format!("storage.retention.{index}{field}"), message));
        });
        let is_sound = mistakes.len() == before;
        if let Some(by) = rule.covered_by(&rules[..index], hosts).filter(|_| is_sound) {
            let message = format!(
                "never decides, because the rules up to storage.retention.{by} fit every repository that it fits, and \
                 come first: put it before that one, or take it out"
            );
            mistakes.push(ConfigError::value(format!("storage.retention.{index}"), message));
        }
    }
}

fn check_rule(rule: &RetentionRule, hosts: &HostNames, mistake: &mut dyn FnMut(&str, String)) {
    if rule.repositories.is_empty() {
        mistake(".repositories", "is missing: patterns of names, \"**\" for all of them".to_owned());
    }
    for pattern in &rule.repositories {
        let (first, _) = pattern.first_component();
        if rule.from != ContentOrigin::Upstream && hosts.scope_of(pattern) != PatternScope::All {
            let message = format!(
                "{}: what is pushed is not content of {first}, which this is about: leave from out, and write a rule for \
                 what is pushed that names the repositories without a host, as in team/**",
                pattern.as_str()
            );
            mistake(".repositories", message);
        }
        if hosts.resolve_pattern(pattern).is_none() {
            let message = format!(
                "{}: no repository has this name: write {first}/**, or what stands behind one host",
                pattern.as_str()
            );
            mistake(".repositories", message);
        }
    }
    let repositories = rule.repositories.iter().map(RepositoryPattern::as_str);
    let tags = rule.keep.tags.iter().map(TagPattern::as_str);
    for (field, repeated) in [(".repositories", repeated(repositories)), (".keep.tags", repeated(tags))] {
        if let Some(pattern) = repeated {
            mistake(field, format!("{pattern} stands there twice: take one out"));
        }
    }
    for (field, period) in [(".unpulled", rule.unpulled), (".untagged", rule.untagged)] {
        if period.is_some_and(|period| period < SHORTEST) {
            mistake(field, "is at least 1h, because use is recorded every 15 minutes; leave it out to keep".to_owned());
        }
    }
    if rule.keep.newest == Some(0) {
        let message = "is at least 1: with 0, every tag would go; leave it out, and set unpulled or untagged";
        mistake(".keep.newest", message.to_owned());
    }
    // A rule whose tags are all kept says so.
    if !rule.expires_anything() && rule.keep.tags.is_empty() {
        let message = "lets nothing go: set unpulled, untagged or keep.newest; for repositories that a later rule must \
                       not touch, write keep: {tags: [\"*\"]}";
        mistake("", message.to_owned());
    }
}

/// A text that is there twice.
fn repeated<'a>(texts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut known = Vec::new();
    for text in texts {
        if known.contains(&text) {
            return Some(text);
        }
        known.push(text);
    }
    None
}
