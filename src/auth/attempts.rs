//! The rate of attempts to log in, by user and address.
//!
//! A client that makes more attempts than it may has to wait, and an address that goes on in spite of that is blocked.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::Sha256;

use super::error::AuthError;
use crate::client_network::network;

/// How long an idle rate limiter is kept.
const LIMITER_IDLE: Duration = Duration::from_mins(15);
/// The most rate limiters.
const MAX_LIMITERS: u64 = 20_000;
/// Attempts for one user from one address: so many at once, and one more after each period.
const OF_USER: (u32, Duration) = (10, Duration::from_secs(6));
/// Attempts from one address, which many users may share.
const OF_ADDRESS: (u32, Duration) = (30, Duration::from_secs(1));
/// Attempts beyond these limits from one address, after which it is blocked.
const EXCESS: (u32, Duration) = (20_000, Duration::from_millis(500));
/// How long an address is blocked: it does not even get cached results.
const BLOCK: Duration = Duration::from_mins(1);

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Of this process, so that digests of passwords and tokens mean nothing elsewhere.
    key: Hmac<Sha256>,
    limiters: Cache<[u8; 32], Arc<DefaultDirectRateLimiter>>,
    /// Blocked addresses, and the end of each block.
    blocked: Cache<[u8; 32], Instant>,
    /// The end of the last block, in milliseconds since `start`; afterwards no address is looked up.
    last_block: AtomicU64,
    start: Instant,
    clock: DefaultClock,
}

impl Attempts {
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new() -> Result<Self, AuthError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| AuthError::Random(error.to_string()))?;
        Ok(Self {
            // HMAC takes keys of any length.
            key: Hmac::new_from_slice(&key).unwrap_or_else(|_| unreachable!("32 bytes are a key")),
            limiters: Cache::builder()
                // LRU, because the default policy may not admit a new limiter, which then limits nothing.
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(MAX_LIMITERS)
                .time_to_idle(LIMITER_IDLE)
                .build(),
            blocked: Cache::builder().max_capacity(MAX_LIMITERS).time_to_live(BLOCK).build(),
            last_block: AtomicU64::new(0),
            start: Instant::now(),
            clock: DefaultClock::default(),
        })
    }

    /// Counts an attempt of a user from an address.
    ///
    /// # Errors
    /// There were too many: how long the client has to wait.
    pub(super) fn count(&self, user: &str, from: IpAddr) -> Result<(), Duration> {
        let (one, all) = (self.client(user, from), self.client("", from));
        // A new name is counted only if its address is below its limit: otherwise made-up names could evict all
        // limiters. A name that has a limiter is counted first, so that guesses for it do not use up the address's
        // limit.
        let counted = if self.limiters.contains_key(&one) {
            self.count_one(one, OF_USER).and_then(|()| self.count_one(all, OF_ADDRESS))
        } else {
            self.count_one(all, OF_ADDRESS).and_then(|()| self.count_one(one, OF_USER))
        };
        if counted.is_err() && self.count_one(self.client("refused:", from), EXCESS).is_err() {
            self.block(all);
        }
        counted
    }

    /// Forgets the attempts of a user from an address, because one of them could not be verified: it was no guess. Those
    /// of the address stay, because they are of other users, too, whose names may be guessed.
    pub(super) fn forgive(&self, user: &str, from: IpAddr) {
        self.limiters.invalidate(&self.client(user, from));
    }

    /// Counts one attempt. Beyond the limit, the error is how long to wait.
    fn count_one(&self, client: [u8; 32], (burst, period): (u32, Duration)) -> Result<(), Duration> {
        let limiter = self.limiters.get_with(client, || {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            // No period is zero, which is the only error.
            let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst));
            Arc::new(RateLimiter::direct(quota.allow_burst(burst)))
        });
        limiter.check().map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn block(&self, client: [u8; 32]) {
        let end = Instant::now() + BLOCK;
        self.blocked.insert(client, end);
        let millis = end.saturating_duration_since(self.start).as_millis();
        self.last_block.fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long an address is still blocked.
    pub(super) fn block_left(&self, from: IpAddr) -> Option<Duration> {
        let last = Duration::from_millis(self.last_block.load(Ordering::Relaxed));
        if last.is_zero() || self.start.elapsed() > last {
            return None;
        }
        let end = self.blocked.get(&self.client("", from))?;
        Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The key of a rate limiter: for a user and an address; without a user, for the address. No user with a password
    /// has a colon in its name, so that other limiters have keys with one.
    fn client(&self, user: &str, from: IpAddr) -> [u8; 32] {
        let address = match network(from) {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        self.digest(&[&address, user.as_bytes()])
    }

    /// A keyed digest of these parts, in this order.
    pub(super) fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = self.key.clone();
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into_bytes().into()
    }
}
