//! What the manifests of a repository have to do with each other, and which of them stay.
//!
//! A manifest stays if the rule does not touch it, a tag of its own stays, it was used, an index that stays names it, or
//! what it follows stays. One that refers to another of this repository (by its `subject`, or by a tag of cosign's)
//! follows that one: it lives and dies with it, whatever its own use. References that lead to nothing but each other do
//! not count.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::SystemTime;

use super::rule::{Clock, Rule};
use super::tags::{self, TagVerdict};
use crate::oci::{Digest, Tag};
use crate::registry::cache::Origin;
use crate::registry::gc::facts::{ManifestFacts, RepositoryFacts};

/// The manifests of a repository, in the order of their digests.
pub(super) struct Graph<'a> {
    digests: Vec<&'a Digest>,
    nodes: Vec<Node<'a>>,
}

/// A manifest. Others are named by their positions.
struct Node<'a> {
    facts: &'a ManifestFacts,
    /// When it was last pulled or written, or a tag that names it was written.
    used: SystemTime,
    /// It was pushed, or a tag pins it: if it stays, the budget does not take it.
    is_pinned: bool,
    /// It has a tag of its own: one that does not follow another manifest.
    is_tagged: bool,
    /// A tag of its own stays.
    has_kept_tag: bool,
    /// Those that it names.
    children: Vec<usize>,
    /// Those with which it lives and dies.
    follows: Vec<usize>,
    /// Those that follow it.
    followers: Vec<usize>,
}

impl<'a> Graph<'a> {
    /// `tags` has the verdict about each tag.
    pub(super) fn new(facts: &'a RepositoryFacts, tags: &BTreeMap<&Tag, TagVerdict>, rule: Option<&Rule>) -> Self {
        let node = |facts: &'a ManifestFacts| Node {
            facts,
            used: tags::used(facts),
            is_pinned: facts.origin == Origin::Pushed,
            is_tagged: false,
            has_kept_tag: false,
            children: Vec::new(),
            follows: Vec::new(),
            followers: Vec::new(),
        };
        let nodes = facts.manifests.values().map(node).collect();
        let mut graph = Self { digests: facts.manifests.keys().collect(), nodes };
        graph.add_tags(facts, tags);
        graph.add_references(rule);
        graph
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = &'a Digest> {
        self.digests.iter().copied()
    }

    /// The position of a manifest.
    pub(super) fn find(&self, digest: &Digest) -> Option<usize> {
        self.digests.binary_search(&digest).ok()
    }

    fn add_tags(&mut self, facts: &RepositoryFacts, tags: &BTreeMap<&Tag, TagVerdict>) {
        for (tag, it) in &facts.tags {
            let (Some(index), Some(verdict)) = (self.find(&it.digest), tags.get(tag)) else {
                continue;
            };
            let subject = match verdict {
                TagVerdict::With(subject) => Some(*subject),
                // What is attached to an upstream's manifest makes way with it, whether or not a rule touches it.
                TagVerdict::Stays => tags::subject(facts, tag, it),
                TagVerdict::Pinned | TagVerdict::Goes => None,
            };
            let subject = subject.and_then(|subject| self.find(&subject));
            let node = &mut self.nodes[index];
            node.used = node.used.max(it.modified);
            node.follows.extend(subject);
            node.is_pinned |= *verdict == TagVerdict::Pinned;
            match verdict {
                TagVerdict::With(_) => node.is_pinned |= it.origin == Origin::Pushed,
                TagVerdict::Goes => node.is_tagged = true,
                TagVerdict::Pinned | TagVerdict::Stays => (node.is_tagged, node.has_kept_tag) = (true, true),
            }
        }
    }

    /// Adds children, and what follows what. By a rule that only counts tags, the children of an index follow it where
    /// they have no tag, because no time tells when they go.
    fn add_references(&mut self, rule: Option<&Rule>) {
        let counting = rule.filter(|rule| rule.counts_only());
        for index in 0..self.nodes.len() {
            let facts = self.nodes[index].facts;
            let subject = facts.subject.and_then(|subject| self.find(&subject));
            self.nodes[index].follows.extend(subject.filter(|subject| *subject != index));
            let children = facts.children.iter().filter_map(|child| self.find(child)).filter(|child| *child != index);
            for child in children.collect::<Vec<_>>() {
                self.nodes[index].children.push(child);
                let node = &mut self.nodes[child];
                if !node.is_tagged && counting.is_some_and(|rule| rule.touches(node.facts.origin)) {
                    node.follows.push(index);
                }
            }
        }
        for index in 0..self.nodes.len() {
            for position in 0..self.nodes[index].follows.len() {
                let followed = self.nodes[index].follows[position];
                self.nodes[followed].followers.push(index);
            }
        }
    }

    /// Which manifests stay.
    pub(super) fn stay(&self, rule: Option<&Rule>, clock: Clock) -> Vec<bool> {
        let following = self.following();
        let stays = |index: usize| {
            let node = &self.nodes[index];
            let Some(rule) = rule.filter(|rule| rule.touches(node.facts.origin)) else {
                return true;
            };
            let untagged = node.facts.untagged.map_or(node.used, |untagged| untagged.max(node.used));
            let is_old = rule.unpulled.is_some_and(|period| clock.is_unused_for(period, node.used))
                || rule.untagged.is_some_and(|period| clock.is_unused_for(period, untagged));
            // Where all of its tags go, it goes with them.
            node.has_kept_tag || !(node.is_tagged || following[index] || is_old)
        };
        self.reach(stays, |node| node.children.iter().chain(&node.followers))
    }

    /// Which of those that stay the budget does not take.
    pub(super) fn pinned(&self, stay: &[bool]) -> Vec<bool> {
        let is_pinned = |index: usize| stay[index] && self.nodes[index].is_pinned;
        self.reach(is_pinned, |node| node.children.iter().chain(&node.followers))
    }

    /// When each manifest that stays was last used: no child before an index that names it, and what follows another with
    /// that one.
    pub(super) fn last_uses(&self, stay: &[bool]) -> Vec<SystemTime> {
        let mut used: Vec<SystemTime> = self.nodes.iter().map(|node| node.used).collect();
        let mut known = vec![false; self.nodes.len()];
        let follows = |index: usize| self.nodes[index].follows.iter().any(|followed| stay[*followed]);
        let (mut seeds, followers): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).filter(|index| stay[*index]).partition(|index| !follows(*index));
        seeds.sort_by_key(|index| Reverse(used[*index]));
        // Followers whose references lead nowhere come last.
        for seed in seeds.into_iter().chain(followers) {
            let last = used[seed];
            self.spread(
                &mut known,
                vec![seed],
                |node| node.children.iter().chain(&node.followers),
                |index| {
                    used[index] = last;
                },
            );
        }
        used
    }

    /// Which manifests follow, over any number of others, one that follows none.
    fn following(&self) -> Vec<bool> {
        let reached = self.reach(|index| self.nodes[index].follows.is_empty(), |node| node.followers.iter());
        let follows = |(reached, node): (bool, &Node<'_>)| reached && !node.follows.is_empty();
        reached.into_iter().zip(&self.nodes).map(follows).collect()
    }

    /// The manifests that are reached by these edges from those that are roots.
    fn reach<'g, I>(&'g self, is_root: impl Fn(usize) -> bool, edges: impl Fn(&'g Node<'a>) -> I) -> Vec<bool>
    where
        I: Iterator<Item = &'g usize>,
    {
        let mut reached = vec![false; self.nodes.len()];
        let roots = (0..self.nodes.len()).filter(|index| is_root(*index)).collect();
        self.spread(&mut reached, roots, edges, |_| {});
        reached
    }

    /// Visits what was not reached yet from these manifests on.
    fn spread<'g, I>(
        &'g self,
        reached: &mut [bool],
        mut waiting: Vec<usize>,
        edges: impl Fn(&'g Node<'a>) -> I,
        mut visit: impl FnMut(usize),
    ) where
        I: Iterator<Item = &'g usize>,
    {
        while let Some(index) = waiting.pop() {
            if !std::mem::replace(&mut reached[index], true) {
                visit(index);
                waiting.extend(edges(&self.nodes[index]));
            }
        }
    }
}
