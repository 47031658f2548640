//! What a survey of the bucket knows of a repository, what retention decides about it, and what may go.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::cache::Origin;

/// A tag as the bucket has it. Times are the bucket's.
#[derive(Clone, Debug)]
pub(in crate::registry) struct TagFacts {
    /// The manifest that it names.
    pub(super) digest: Digest,
    /// When its link was written.
    pub(super) modified: SystemTime,
    /// Whether it was pushed.
    pub(super) origin: Origin,
}

/// A manifest that a repository has, by its revision link.
#[derive(Clone, Debug)]
pub(in crate::registry) struct ManifestFacts {
    /// When its revision link was written.
    pub(super) linked: SystemTime,
    /// Whether it was pushed.
    pub(super) origin: Origin,
    /// When it was last pulled, if that is known.
    pub(super) pulled: Option<SystemTime>,
    /// Since when it has had no tag, as far as is known; `None`: it has one.
    pub(super) untagged: Option<SystemTime>,
    /// The manifests that it names, if it is an index.
    pub(super) children: Vec<Digest>,
    /// What it refers to.
    pub(super) subject: Option<Digest>,
}

/// A repository as the bucket has it.
#[derive(Clone, Debug)]
pub(in crate::registry) struct RepositoryFacts {
    pub(super) name: RepositoryName,
    pub(super) tags: BTreeMap<Tag, TagFacts>,
    pub(super) manifests: BTreeMap<Digest, ManifestFacts>,
}

/// Why something may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule of `storage.retention`, by its position.
    Rule(u16),
    /// `proxy.ttl`.
    Ttl,
    /// `storage.maxsize`: it was not pulled for longest.
    Budget,
    /// Nothing needs it.
    Unneeded,
}

/// What retention says about a manifest of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Verdict {
    /// It stays, whatever the budget.
    Keep,
    /// It stays, unless the budget needs its bytes. When it was last used.
    Evictable(SystemTime),
    /// It goes.
    Expired(Reason),
}

/// What retention says about a repository: every tag that goes, and every manifest.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Verdicts {
    pub(super) expired_tags: BTreeMap<Tag, Reason>,
    pub(super) manifests: BTreeMap<Digest, Verdict>,
}

/// What kind of object a key is. Keys are deleted in this order, so that nothing names what is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// A tag's `current/link`.
    Tag,
    /// An entry of a tag's history.
    TagHistory,
    /// The marker of a pushed tag.
    TagPush,
    /// A referrer's descriptor.
    Referrer,
    /// A manifest's link.
    Revision,
    /// A blob's link.
    Layer,
    /// The bytes of a blob or manifest.
    Blob,
}

/// A key that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Candidate {
    pub(super) kind: CandidateKind,
    /// Its path below the root directory, as `Key` spells it.
    pub(super) path: String,
    /// How many bytes it has.
    pub(super) size: u64,
    pub(super) reason: Reason,
}

impl fmt::Display for Reason {
    /// The setting by which it goes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(position) => write!(f, "storage.retention.{position}"),
            Self::Ttl => f.write_str("proxy.ttl"),
            Self::Budget => f.write_str("storage.maxsize"),
            Self::Unneeded => f.write_str("unneeded"),
        }
    }
}

impl CandidateKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::TagHistory => "history",
            Self::TagPush => "push",
            Self::Referrer => "referrer",
            Self::Revision => "manifest",
            Self::Layer => "layer",
            Self::Blob => "blob",
        }
    }
}
