//! The credentials for one upstream: none, some, or several, of which the one with the most of its rate left is used.

use std::cmp::Reverse;

use super::authorize::Authorizer;

/// One authorizer for each of the credentials, or an anonymous one. Each has tokens of its own.
#[derive(Debug)]
pub(super) struct Accounts {
    first: Authorizer,
    others: Vec<Authorizer>,
}

impl Accounts {
    pub(super) const fn new(first: Authorizer, others: Vec<Authorizer>) -> Self {
        Self { first, others }
    }

    pub(super) const fn first(&self) -> &Authorizer {
        &self.first
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Authorizer> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// In the order in which they are tried: those of which nothing is known, then those with the most requests left.
    /// One that has none left is not tried, unless it is so with all: then the first that will have some.
    pub(super) fn by_rate(&self) -> Vec<&Authorizer> {
        let known = self.all().map(|it| (it.rate.get(), it));
        let (used_up, mut others): (Vec<_>, Vec<_>) = known.partition(|(rate, _)| matches!(rate, Some((0, _))));
        if others.is_empty() {
            let next = used_up.into_iter().min_by_key(|(rate, _)| rate.map(|(_, until)| until));
            return next.map(|(_, it)| it).into_iter().collect();
        }
        // Stable, so that equal ones keep the configuration's order.
        others.sort_by_key(|(rate, _)| Reverse(rate.map_or(u64::MAX, |(left, _)| left)));
        others.into_iter().map(|(_, it)| it).collect()
    }
}
