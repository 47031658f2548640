//! Bounds that several caches share.

use std::hash::Hash;
use std::time::Duration;

use moka::sync::Cache as Moka;

use crate::oci::{Digest, Reference, RepositoryName};

/// Something of a repository.
pub(in crate::registry) type InRepository<T> = (RepositoryName, T);

/// One type for several caches: each type of moka's has some 80 KB of program, and takes seconds to compile.
pub(super) type References = Moka<InRepository<Reference>, Option<Digest>>;

/// How full one of the caches is.
#[derive(Clone, Copy, Debug)]
pub struct CacheUsage {
    /// The cache's name.
    pub name: &'static str,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes they have, where the cache is bounded by them.
    pub bytes: Option<u64>,
}

/// A size in bytes as moka takes it. None of what is kept has 4 GiB.
pub(super) fn weight(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

pub(super) fn with_life<K, V>(capacity: u64, life: Duration) -> Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Moka::builder().max_capacity(capacity).time_to_live(life).build()
}
