//! Digests and numbers as the spool and the memory of manifests spell them: short, and each with its own length.

use crate::oci::{Algorithm, Digest};

/// Appends a digest: a byte for the algorithm, and its value.
pub(super) fn put_digest(bytes: &mut Vec<u8>, digest: &Digest) {
    bytes.push(match digest.algorithm() {
        Algorithm::Sha256 => 0,
        Algorithm::Sha512 => 1,
    });
    bytes.extend_from_slice(digest.value());
}

/// Reads bytes from their beginning. Each read is `None` where they end too early, or are not what was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        let algorithm = match self.byte()? {
            0 => Algorithm::Sha256,
            1 => Algorithm::Sha512,
            _ => return None,
        };
        Digest::from_value(algorithm, self.take(algorithm.size())?)
    }
}

/// A list of digests, each once and in order, in few bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests(Vec<u8>);

impl Digests {
    pub(super) fn new(mut digests: Vec<Digest>) -> Self {
        digests.sort_unstable();
        digests.dedup();
        let mut bytes = Vec::with_capacity(digests.len() * 33);
        for digest in &digests {
            put_digest(&mut bytes, digest);
        }
        Self(bytes)
    }

    /// Those that were written before; `None` if these bytes are no list.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut left = Bytes(bytes);
        while !left.is_empty() {
            left.digest()?;
        }
        Some(Self(bytes.to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Digest> {
        let mut left = Bytes(&self.0);
        std::iter::from_fn(move || left.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_back_in_order_and_once() {
        let [a, b] = [b"a", b"b"].map(|content| Digest::of(Algorithm::Sha256, content));
        let long = Digest::of(Algorithm::Sha512, b"a");
        let digests = Digests::new(vec![long, b, a, b, long]);
        let mut expected = vec![a, b, long];
        expected.sort_unstable();
        assert_eq!(digests.iter().collect::<Vec<_>>(), expected);
        assert_eq!(Digests::read(digests.as_bytes()), Some(digests.clone()));
        let bytes = digests.as_bytes();
        for wrong in [&bytes[1..], &bytes[..bytes.len() - 1], &[2; 33], &[0]] {
            assert_eq!(Digests::read(wrong), None);
        }
    }
}
