//! Bounds that several caches share.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::{Cache as Moka, CacheBuilder};

use crate::oci::{Digest, Reference, RepositoryName};

/// Something of a repository.
pub(in crate::registry) type InRepository<T> = (RepositoryName, T);

/// One type for several caches: each type of moka's has some 80 KB of program, and takes seconds to compile.
pub(super) type References = Moka<InRepository<Reference>, Option<Digest>>;

/// Counts the entries that a cache gives up because it is full or they are old.
#[derive(Clone, Debug, Default)]
pub(super) struct Evictions(Arc<AtomicU64>);

impl Evictions {
    pub(super) fn of<K, V, C>(&self, builder: CacheBuilder<K, V, C>) -> CacheBuilder<K, V, C> {
        let count = Arc::clone(&self.0);
        builder.eviction_listener(move |_, _, cause| {
            if cause.was_evicted() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
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
