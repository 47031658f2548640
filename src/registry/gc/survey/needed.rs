//! Until when something is needed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::gc::facts::{Reason, Verdict};

/// Until when something is needed: not at all, and why; or until the budget takes what was last used at a time; or for
/// ever. What more than one needs is needed as long as the last of them, so the greatest counts.
///
/// Times are minutes, and of one minute the repositories go one after the other, by a byte of the digest of their
/// names: what a repository's index needs stays together, and a bucket that was filled within a minute is not emptied
/// at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Needed(u64);

/// Smaller than any time since 1970 but for its first days, and greater than any reason.
const FIRST: u64 = 1 << 20;
/// The numbers of reasons, beside those of rules.
const UNNEEDED: u64 = 0;
const TTL: u64 = 1;
const BUDGET: u64 = 2;
const RULES: u64 = 3;

impl Needed {
    pub(super) const FOREVER: Self = Self(u64::MAX);
    /// Nothing names it.
    pub(super) const NOT: Self = Self(UNNEEDED);
    /// All times are later.
    pub(super) const FIRST: Self = Self(FIRST);

    pub(super) fn new(verdict: Verdict, of: Share) -> Self {
        match verdict {
            Verdict::Keep => Self::FOREVER,
            Verdict::Evictable(used) => Self::until(used, of),
            Verdict::Expired(reason) => Self::expired(reason),
        }
    }

    pub(super) fn until(used: SystemTime, of: Share) -> Self {
        let minutes = used.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
        Self(((minutes << 8) | u64::from(of.0)).clamp(FIRST, u64::MAX - 1))
    }

    pub(super) const fn expired(reason: Reason) -> Self {
        Self(match reason {
            Reason::Unneeded => UNNEEDED,
            Reason::Ttl => TTL,
            Reason::Budget => BUDGET,
            Reason::Rule(rule) => RULES + rule as u64,
        })
    }

    /// Why it is not needed, given that the budget takes what is needed until before `cutoff`.
    pub(super) fn reason(self, cutoff: Self) -> Option<Reason> {
        match self.0 {
            UNNEEDED => Some(Reason::Unneeded),
            TTL => Some(Reason::Ttl),
            BUDGET => Some(Reason::Budget),
            rule @ ..FIRST => Some(Reason::Rule(u16::try_from(rule - RULES).unwrap_or(u16::MAX))),
            _ => (self < cutoff).then_some(Reason::Budget),
        }
    }

    pub(super) const fn is_expired(self) -> bool {
        self.0 < FIRST
    }

    /// The hour, since 1970.
    pub(super) const fn hour(self) -> u64 {
        (self.0 >> 8) / 60
    }

    /// The time after it.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(super) const fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(super) const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// In whole seconds since 1970.
pub(super) fn seconds(time: Option<SystemTime>) -> Option<u64> {
    Some(time?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Where a repository comes among those of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u8);

impl Share {
    pub(super) fn of(name: &RepositoryName) -> Self {
        Self(Digest::of(Algorithm::Sha256, name.as_str().as_bytes()).value()[0])
    }
}

/// Which keys are old enough to go: a survey's one idea of the time, that of the bucket when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    pub(super) now: SystemTime,
    pub(super) delay: Duration,
}

impl Age {
    /// The bucket cuts times to seconds.
    pub(super) fn is_old(self, modified: Option<SystemTime>) -> bool {
        let age = modified.and_then(|modified| self.now.duration_since(modified).ok());
        age.is_some_and(|age| age > self.delay + Duration::from_secs(1))
    }

    /// What was used since is not taken by the budget.
    pub(super) fn limit(self) -> Needed {
        let limit = self.now.checked_sub(self.delay).unwrap_or(UNIX_EPOCH);
        Needed::until(limit, Share(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_of_several_needs_counts() {
        let day = |days: u64| UNIX_EPOCH + Duration::from_hours(24 * days);
        let reasons = [Reason::Unneeded, Reason::Ttl, Reason::Budget, Reason::Rule(0), Reason::Rule(u16::MAX)];
        let expired = reasons.map(Needed::expired);
        let times = [0, 20_000, 30_000].map(|days| Needed::until(day(days), Share(7)));
        let all = [&expired[..], &times[..], &[Needed::FOREVER]].concat();
        assert!(all.is_sorted(), "{all:?}");
        for (needed, reason) in expired.into_iter().zip(reasons) {
            assert_eq!(needed.reason(Needed::FIRST), Some(reason));
            assert!(needed.is_expired());
        }
        assert_eq!(times[1].reason(Needed::FIRST), None);
        assert_eq!(times[1].reason(times[1]), None);
        assert_eq!(times[1].reason(times[1].next()), Some(Reason::Budget));
        assert_eq!(Needed::FOREVER.reason(Needed::FOREVER), None);
        assert_eq!(times[1].hour(), 20_000 * 24);
    }
}
