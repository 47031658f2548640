//! The keys of a batch, as hashes of their paths.
//!
//! A batch in the bucket is the sorted first 16 bytes of the SHA-256 of each path. Writers keep the first 8 bytes of
//! each: a path that has another's by chance costs a request, and is spared.

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::store::{GcGroup, Key};

/// The most keys of one batch, so that its object is smaller than a manifest: 3.2 MB.
pub(in crate::registry) const MAX_BATCH_KEYS: usize = 200_000;

/// The bytes of a hash in the bucket.
const HASH_BYTES: usize = 16;

/// The hash of a key's path below the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::registry) struct KeyHash(u128);

impl KeyHash {
    pub(in crate::registry) fn of(path: &str) -> Self {
        let hashed = Sha256::digest(path.as_bytes());
        let start = hashed.first_chunk::<HASH_BYTES>().copied();
        Self(u128::from_be_bytes(start.unwrap_or_default()))
    }

    const fn start(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The keys that are decided about together with this one. `is_content`: it is a link to a blob, or bytes. Of these
    /// there may be many, so they share decisions.
    pub(in crate::registry) const fn group(self, is_content: bool) -> GcGroup {
        if is_content {
            return GcGroup::Content((self.0 >> 118) as u16);
        }
        GcGroup::One(self.start())
    }
}

/// Whether a key is one of the links to blobs, or bytes.
pub(in crate::registry) const fn is_content(key: &Key<'_>) -> bool {
    matches!(key, Key::Blob(_) | Key::Layer(..))
}

/// All keys of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct BatchKeys(Box<[KeyHash]>);

impl BatchKeys {
    pub(in crate::registry) fn new(mut hashes: Vec<KeyHash>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes.into_boxed_slice())
    }

    pub(in crate::registry) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::registry) fn contains(&self, hash: KeyHash) -> bool {
        self.0.binary_search(&hash).is_ok()
    }

    /// As it is in the bucket.
    pub(in crate::registry) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.0.len() * HASH_BYTES);
        self.0.iter().for_each(|hash| bytes.extend_from_slice(&hash.0.to_be_bytes()));
        bytes.freeze()
    }

    /// `None`: it is no batch.
    pub(in crate::registry) fn decode(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.len() > MAX_BATCH_KEYS {
            return None;
        }
        let hashes: Box<[_]> = hashes.iter().map(|hash| KeyHash(u128::from_be_bytes(*hash))).collect();
        hashes.is_sorted_by(|a, b| a < b).then_some(Self(hashes))
    }
}

/// What a writer keeps of a batch: 8 bytes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Keys(Box<[u64]>),
    /// Its keys are lost, so it may have any.
    Any,
}

impl Filter {
    pub(super) fn new(keys: &BatchKeys) -> Self {
        Self::Keys(keys.0.iter().map(|hash| hash.start()).collect())
    }

    pub(super) fn may_contain(&self, hash: KeyHash) -> bool {
        match self {
            Self::Keys(starts) => starts.binary_search(&hash.start()).is_ok(),
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: std::ops::Range<u32>) -> BatchKeys {
        BatchKeys::new(numbers.map(|number| KeyHash::of(&number.to_string())).collect())
    }

    #[test]
    fn a_batch_comes_back_from_its_bytes_and_nothing_else_does() {
        let all = keys(0..1000);
        let bytes = all.encode();
        assert_eq!(bytes.len(), 16_000);
        assert_eq!(BatchKeys::decode(&bytes), Some(all.clone()));
        assert_eq!(BatchKeys::decode(&[]), Some(BatchKeys::default()));
        let filter = Filter::new(&all);
        for number in 0..2000_u32 {
            let hash = KeyHash::of(&number.to_string());
            assert_eq!((all.contains(hash), filter.may_contain(hash)), (number < 1000, number < 1000));
        }
        assert_eq!(BatchKeys::decode(&bytes[..15]), None);
        let swapped = [&bytes[16..32], &bytes[..16]].concat();
        assert_eq!(BatchKeys::decode(&swapped), None, "not in order");
        assert_eq!(BatchKeys::decode(&[&bytes[..16], &bytes[..16]].concat()), None, "twice");
    }

    #[test]
    fn bytes_share_decisions_and_other_keys_do_not() {
        let (content, others): (Vec<_>, Vec<_>) = (0..10_000_u32)
            .map(|number| KeyHash::of(&number.to_string()))
            .map(|hash| (hash.group(true), hash.group(false)))
            .unzip();
        let count = |groups: Vec<GcGroup>| groups.into_iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(count(content), 1024);
        assert_eq!(count(others), 10_000);
    }
}
