//! Verification of passwords, with a cache and rate limits.
//!
//! bcrypt takes a core for some 50 ms. So results are cached under a keyed digest of user, password and hash;
//! comparisons run on blocking threads, a few at once; and their rate is limited for each client. Cached results are
//! returned beyond that limit, so that guesses cannot lock a user out; but not to an address that goes on guessing,
//! because the right guess would stand out.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as SyncCache;
use sha2::Sha256;

use super::credentials::CredentialsError;
use super::error::AuthError;
use super::htpasswd::Users;
use super::new_user::MAX_NAME;
use crate::client_network::neighbourhood;
use crate::client_network::network;
use crate::config::{Htpasswd, Secret};
use crate::fair_semaphore::FairSemaphore;
use crate::reload::Reloaded;
use crate::telemetry::Metrics;

/// The size of the cache of results; one has some 200 bytes.
const MAX_RESULTS: u64 = 10_000;
/// The lifetime of a result. A changed hash has another entry, so an old password does not work for so long.
const RESULT_LIFE: Duration = Duration::from_mins(5);
/// How long an idle rate limiter is kept.
const LIMITER_IDLE: Duration = Duration::from_mins(15);
/// The most requests that wait for a comparison, and those of one neighbourhood: some seconds' worth of comparisons.
/// Neighbourhoods are served in turn, so a first login from one waits for at most one comparison of each other.
const QUEUE: usize = 512;
const QUEUE_OF_ONE: usize = 16;
/// The most rate limiters.
const MAX_LIMITERS: u64 = 20_000;
/// Comparisons for one user from one address: so many at once, and one more after each period.
const OF_USER: (u32, Duration) = (10, Duration::from_secs(6));
/// Comparisons from one address, which many users may share.
const OF_ADDRESS: (u32, Duration) = (30, Duration::from_secs(1));
/// Attempts beyond these limits from one address, after which it is blocked.
const EXCESS: (u32, Duration) = (20_000, Duration::from_millis(500));
/// How long an address is blocked: it does not even get cached results.
const BLOCK: Duration = Duration::from_mins(1);

/// Verifies passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    users: Reloaded<Users>,
    metrics: Arc<Metrics>,
    key: Hmac<Sha256>,
    results: Cache<[u8; 32], bool>,
    limiters: SyncCache<[u8; 32], Arc<DefaultDirectRateLimiter>>,
    /// Blocked addresses, and the end of each block.
    blocked: SyncCache<[u8; 32], Instant>,
    /// The end of the last block, in milliseconds since `start`; afterwards no address is looked up.
    last_block: AtomicU64,
    start: Instant,
    clock: DefaultClock,
    /// Permits for comparisons, and for waiting requests, by neighbourhood.
    comparisons: Arc<FairSemaphore<IpAddr>>,
    queue: Arc<FairSemaphore<IpAddr>>,
}

impl Passwords {
    /// # Errors
    /// The users cannot be read.
    pub(super) fn open(config: &Htpasswd, metrics: Arc<Metrics>) -> Result<Self, AuthError> {
        let (path, text) = (config.path.clone(), config.users.clone());
        let files = path.clone().into_iter().collect();
        let read = move || Users::read(path.as_deref(), text.as_ref().map(Secret::reveal));
        let users = Reloaded::of("auth.htpasswd.path", files, read)?;
        if users.get().len() == 0 {
            tracing::warn!(
                "auth.htpasswd.path names a file without a user that has a bcrypt hash: no client can log in until \
                 `pounce htpasswd --file FILE USER` adds one, which needs no restart"
            );
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| AuthError::Random(error.to_string()))?;
        // HMAC takes keys of any length.
        let key = Hmac::new_from_slice(&key).unwrap_or_else(|_| unreachable!("32 bytes are a key"));
        // At most half of the cores: the rest is for authenticated clients.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parallel = (cores / 2).max(1);
        Ok(Self {
            users,
            metrics,
            key,
            results: Cache::builder().max_capacity(MAX_RESULTS).time_to_live(RESULT_LIFE).build(),
            limiters: SyncCache::builder()
                // LRU, because the default policy may not admit a new limiter, which then limits nothing.
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(MAX_LIMITERS)
                .time_to_idle(LIMITER_IDLE)
                .build(),
            blocked: SyncCache::builder().max_capacity(MAX_LIMITERS).time_to_live(BLOCK).build(),
            last_block: AtomicU64::new(0),
            start: Instant::now(),
            clock: DefaultClock::default(),
            comparisons: FairSemaphore::new(parallel, parallel),
            queue: FairSemaphore::new(QUEUE, QUEUE_OF_ONE),
        })
    }

    /// The number of users.
    pub(super) fn users(&self) -> usize {
        self.users.get().len()
    }

    /// Lines of users that cannot log in, for a message; empty if there are none.
    pub(super) fn unusable_lines(&self) -> Vec<String> {
        self.users.get().unusable().to_vec()
    }

    /// The result of [`verify`](Self::verify), if it needs no comparison.
    pub(super) fn verify_cached(
        &self,
        user: &str,
        password: &[u8],
        from: IpAddr,
    ) -> Option<Result<Arc<str>, CredentialsError>> {
        if user.len() > MAX_NAME {
            return Some(Err(CredentialsError::UnknownUser));
        }
        if let Some(left) = self.block_left(from) {
            return Some(Err(CredentialsError::TooManyAttempts(left)));
        }
        let users = self.users.get();
        let (name, hash) = self.find(&users, user);
        let key = self.digest(&[user.as_bytes(), password, hash.as_bytes()]);
        // The cache is in memory, so its future is ready at once.
        let is_right = self.results.get(&key).now_or_never()??;
        Some(result(name, is_right))
    }

    /// The user's name, if the password is right.
    pub(super) async fn verify(&self, user: &str, password: &[u8], from: IpAddr) -> Result<Arc<str>, CredentialsError> {
        if let Some(cached) = self.verify_cached(user, password, from) {
            return cached;
        }
        let users = self.users.get();
        let (name, hash) = self.find(&users, user);
        let key = self.digest(&[user.as_bytes(), password, hash.as_bytes()]);
        // Equal requests at the same time share one comparison.
        let compared = self.results.try_get_with(key, self.compare(user, password, hash, from)).await;
        result(name, compared.map_err(|error| *error)?)
    }

    /// The user's name, if there is one, and the hash to compare the password with.
    fn find<'a>(&self, users: &'a Users, user: &str) -> (Option<&'a Arc<str>>, &'a Arc<str>) {
        if let Some((name, hash)) = users.get(user) {
            return (Some(name), hash);
        }
        let digest = self.digest(&[user.as_bytes()]);
        (None, users.dummy_hash(usize::from_be_bytes(std::array::from_fn(|at| digest[at]))))
    }

    /// The user's name, and a digest of the password's hash, to which tokens are bound. `None` if there is no such
    /// user.
    pub(super) fn user_key(&self, user: &str) -> Option<(Arc<str>, [u8; 32])> {
        let users = self.users.get();
        let (name, hash) = users.get(user)?;
        // Without this process's key, because all replicas accept the tokens.
        let digest = <Sha256 as sha2::Digest>::digest(hash.as_bytes());
        Some((Arc::clone(name), digest.into()))
    }

    async fn compare(
        &self,
        user: &str,
        password: &[u8],
        hash: &Arc<str>,
        from: IpAddr,
    ) -> Result<bool, CredentialsError> {
        let (one, all) = (self.client(user, from), self.client("", from));
        // A new name is counted only if its address is below its limit: otherwise made-up names could evict all
        // limiters. A name that has a limiter is counted first, so that guesses for it do not use up the address's
        // limit.
        let counted = if self.limiters.contains_key(&one) {
            self.count(one, OF_USER).and_then(|()| self.count(all, OF_ADDRESS))
        } else {
            self.count(all, OF_ADDRESS).and_then(|()| self.count(one, OF_USER))
        };
        if let Err(after) = counted {
            if self.count(self.client("refused:", from), EXCESS).is_err() {
                self.block(all);
            }
            return Err(CredentialsError::TooManyAttempts(after));
        }
        let near = neighbourhood(from);
        let queued = self.queue.take_now(&near, 1);
        let queued = queued.ok_or(CredentialsError::TooManyAttempts(Duration::from_secs(2)))?;
        let permit = self.comparisons.take(&near, 1).await;
        let (password, hash) = (password.to_vec(), Arc::clone(hash));
        let compared = tokio::task::spawn_blocking(move || {
            // bcrypt ends a password at a NUL.
            let is_right = !password.contains(&0) && bcrypt::verify(&password, &hash).unwrap_or(false);
            drop((permit, queued));
            is_right
        });
        let is_right = compared.await.unwrap_or(false);
        self.metrics.password(is_right);
        Ok(is_right)
    }

    /// Counts one comparison. Beyond the limit, the error is how long to wait.
    fn count(&self, client: [u8; 32], (burst, period): (u32, Duration)) -> Result<(), Duration> {
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
    fn block_left(&self, from: IpAddr) -> Option<Duration> {
        let last = Duration::from_millis(self.last_block.load(Ordering::Relaxed));
        if last.is_zero() || self.start.elapsed() > last {
            return None;
        }
        let end = self.blocked.get(&self.client("", from))?;
        Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The key of a rate limiter: for a user and an address; without a user, for the address. No user's name has a
    /// colon, so `refused:` is none.
    fn client(&self, user: &str, from: IpAddr) -> [u8; 32] {
        let address = match network(from) {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        self.digest(&[&address, user.as_bytes()])
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = self.key.clone();
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into_bytes().into()
    }
}

fn result(name: Option<&Arc<str>>, is_right: bool) -> Result<Arc<str>, CredentialsError> {
    let name = name.ok_or(CredentialsError::UnknownUser)?;
    if is_right { Ok(Arc::clone(name)) } else { Err(CredentialsError::WrongPassword) }
}
