//! What an entry consists of, in as few bytes as it needs.

use std::num::NonZeroU64;
use std::time::Duration;

use super::membership::{Membership, Standing};
use crate::oci::Digest;

/// A digest in as few bytes as it needs: 40 where it is SHA-256, instead of 65.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Short([u8; 32]),
    Long(Box<[u8]>),
}

/// A time in whole seconds since the cache was made: 4 bytes, where an `Instant` takes 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Second(u32);

/// A size in bytes plus one, so that an `Option` of it has 8 bytes, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(NonZeroU64);

/// A [`Membership`] in 8 bytes: its size, and in the lowest two bits its standing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed(u64);

impl From<&Digest> for Key {
    fn from(digest: &Digest) -> Self {
        let value = digest.value();
        value.try_into().map_or_else(|_| Self::Long(value.into()), Self::Short)
    }
}

impl Second {
    /// When the cache was made.
    pub(super) const FIRST: Self = Self(0);

    /// Seconds last for 136 years.
    pub(super) fn after(time: Duration) -> Self {
        Self(u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
    }

    pub(super) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(Self::after(time).0))
    }
}

impl Size {
    /// No object is as large as the largest number.
    pub(super) fn new(bytes: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(bytes))
    }

    pub(super) fn bytes(self) -> u64 {
        self.0.get() - 1
    }
}

impl Packed {
    /// Sizes are those of manifests; no object comes near 4 EiB.
    pub(super) fn new(Membership { size, standing }: Membership) -> Self {
        Self(size.min(u64::MAX >> 2) << 2 | standing as u64)
    }

    pub(super) fn member(self) -> Membership {
        Membership {
            size: self.0 >> 2,
            standing: match self.0 & 3 {
                0 => Standing::Named,
                1 => Standing::Owned,
                _ => Standing::Linked,
            },
        }
    }
}
