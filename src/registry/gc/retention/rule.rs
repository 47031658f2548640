//! A rule of `storage.retention`, for names as they are in the bucket.

use std::time::{Duration, SystemTime};

use crate::config::{ContentOrigin, HostNames, PatternScope, RepositoryPattern, RetentionRule, TagPattern};
use crate::oci::{RepositoryName, Tag};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::Reason;

/// When a round decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The bucket's clock.
    pub(super) now: SystemTime,
    /// Before that, pulls are not known.
    pub(super) recorded_since: SystemTime,
}

impl Clock {
    /// Whether content that was last used then was certainly not used for so long.
    pub(super) fn is_unused_for(self, period: Duration, last: SystemTime) -> bool {
        let last = last.max(self.recorded_since);
        self.now.duration_since(last).is_ok_and(|unused| unused >= period)
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The patterns, and whether each is about the default upstream only. `None`: every repository.
    repositories: Option<Vec<(RepositoryPattern, Option<HostNames>)>>,
    from: ContentOrigin,
    pub(super) unpulled: Option<Duration>,
    pub(super) untagged: Option<Duration>,
    pub(super) newest: Option<usize>,
    kept: Vec<TagPattern>,
    pub(super) reason: Reason,
}

impl Rule {
    /// `position` is the rule's in `storage.retention`; `hosts` are those of the upstreams.
    pub(super) fn new(rule: &RetentionRule, position: u16, hosts: &HostNames) -> Self {
        let resolve = |pattern: &RepositoryPattern| {
            let of_default = hosts.scope_of(pattern) == PatternScope::Default;
            // A loaded configuration has no pattern that cannot match.
            Some((hosts.resolve_pattern(pattern)?, of_default.then(|| hosts.clone())))
        };
        Self {
            repositories: Some(rule.repositories.iter().filter_map(resolve).collect()),
            from: rule.from,
            unpulled: rule.unpulled,
            untagged: rule.untagged,
            newest: rule.keep.newest,
            kept: rule.keep.tags.clone(),
            reason: Reason::Rule(position),
        }
    }

    /// The rule of `proxy.ttl`.
    pub(super) fn of_ttl(ttl: Duration) -> Self {
        Self {
            repositories: None,
            from: ContentOrigin::Upstream,
            unpulled: Some(ttl),
            untagged: Some(ttl),
            newest: None,
            kept: Vec::new(),
            reason: Reason::Ttl,
        }
    }

    pub(super) fn fits(&self, name: &RepositoryName) -> bool {
        let name = name.as_str();
        self.repositories.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|(pattern, of_default)| {
                // The default upstream's repositories have no host in the bucket, so that the pattern has none.
                let is_anothers = of_default.as_ref().is_some_and(|hosts| hosts.is_further(name));
                !is_anothers && pattern.matches(name)
            })
        })
    }

    /// Whether it may touch content that came from there.
    pub(super) fn touches(&self, origin: Origin) -> bool {
        match self.from {
            ContentOrigin::Any => true,
            ContentOrigin::Upstream => origin == Origin::Upstream,
            ContentOrigin::Push => origin == Origin::Pushed,
        }
    }

    /// Whether a tag stays whatever its age and number.
    pub(super) fn keeps(&self, tag: &Tag) -> bool {
        self.kept.iter().any(|pattern| pattern.matches(tag.as_str()))
    }

    /// Whether tags go by their number alone.
    pub(super) fn counts_only(&self) -> bool {
        self.newest.is_some() && self.unpulled.is_none()
    }

    pub(super) fn longest_period(&self) -> Option<Duration> {
        self.unpulled.into_iter().chain(self.untagged).max()
    }
}
