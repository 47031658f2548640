//! Whether, and why, a blob belongs to a repository.

/// How a blob belongs to a repository.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Membership {
    /// In bytes.
    pub(in crate::registry) size: u64,
    pub(in crate::registry) standing: Standing,
}

/// Why a blob belongs to a repository; each reason is stronger than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum Standing {
    /// A manifest of the upstream's names it. That gives no access to content that the bucket has from elsewhere.
    Named,
    /// A manifest that was pushed names it, or the upstream says that the repository has it.
    Owned,
    /// The bucket says so too: the repository has a layer link there.
    Linked,
}

impl Membership {
    pub(in crate::registry) fn is_owned(&self) -> bool {
        self.standing >= Standing::Owned
    }

    pub(in crate::registry) fn is_linked(&self) -> bool {
        self.standing == Standing::Linked
    }
}
