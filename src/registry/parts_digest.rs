//! A digest that commits to parts in a bucket: to their numbers, sizes and `ETag`s, in their order.
//!
//! A state that travels through a client's URL or an object of the bucket names no parts, of which there may be
//! thousands. It has this digest over those that were hashed; parts that the bucket lists later are these very ones if
//! their digest is equal.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::Part;

/// A digest over parts in their order; the default is that over none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PartsDigest(#[serde(with = "const_hex")] [u8; 32]);

impl PartsDigest {
    /// Adds the next part.
    pub(super) fn append(&mut self, part: &Part) {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(part.number.to_be_bytes());
        hasher.update(part.len.to_be_bytes());
        hasher.update(part.etag.as_bytes());
        self.0 = hasher.finalize().into();
    }

    /// The digest over parts that are given in their order.
    pub(super) fn over(parts: &[Part]) -> Self {
        let mut chain = Self::default();
        for part in parts {
            chain.append(part);
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_parts_apart() {
        let part = |number, len, etag: &str| Part { number, len, etag: etag.into() };
        let chain = PartsDigest::over(&[part(1, 5, "a"), part(2, 5, "b")]);
        for other in [
            vec![],
            vec![part(1, 5, "a")],
            vec![part(2, 5, "b"), part(1, 5, "a")],
            vec![part(1, 5, "a"), part(2, 5, "c")],
            vec![part(1, 5, "a"), part(2, 6, "b")],
        ] {
            assert_ne!(PartsDigest::over(&other), chain);
        }
    }
}
