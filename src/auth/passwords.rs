//! Checking passwords: bcrypt once, and then what was seen.
//!
//! bcrypt takes a core for some 50 ms. So a verdict is remembered under a keyed digest of user, password and hash;
//! comparisons run beside the async threads, a few at once; and how many a client can ask for is limited. What is
//! remembered is told even then, so that nobody can lock a user out by guessing; but not to somebody who goes on and
//! on, since the right guess would stand out.

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

use super::users::Users;
use super::{AuthError, Refusal};
use crate::client_network::network;
use crate::config::{Htpasswd, Secret};
use crate::reload::Reloaded;
use crate::shares::{Shares, neighbourhood};
use crate::telemetry::Metrics;

/// Verdicts that are remembered; one has some 200 bytes.
const VERDICTS: u64 = 10_000;
/// For how long. A changed hash is another entry, so this is no time in which an old password works.
const VERDICT_LIFE: Duration = Duration::from_mins(5);
/// How long a client's count is kept that asks nothing more.
const LONGEST: Duration = Duration::from_mins(15);
/// How many requests may wait for a comparison, and how many of one neighbourhood: some seconds' worth of these. A
/// neighbourhood takes turns with the others, so that the first login from another one is next but one for each of
/// them.
const QUEUE: usize = 512;
const QUEUE_OF_ONE: usize = 16;
/// Clients whose comparisons are counted.
const CLIENTS: u64 = 20_000;
/// The longest name of a user, in bytes.
const MAX_NAME: usize = 255;
/// Comparisons for one user from one address: so many at once, and one more each time this has passed.
const OF_USER: (u32, Duration) = (10, Duration::from_secs(6));
/// Refusals to an address beyond that, before it is told nothing any more; and for how long.
const REFUSALS: (u32, Duration) = (20_000, Duration::from_millis(500));
const BAR: Duration = Duration::from_mins(1);
/// Comparisons from one address: many users may share it.
const OF_ADDRESS: (u32, Duration) = (30, Duration::from_secs(1));

/// The users, and what is known of their passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    users: Reloaded<Users>,
    metrics: Arc<Metrics>,
    key: Hmac<Sha256>,
    verdicts: Cache<[u8; 32], bool>,
    limits: SyncCache<[u8; 32], Arc<DefaultDirectRateLimiter>>,
    /// Addresses that go on and on, and until when they are told nothing.
    barred: SyncCache<[u8; 32], Instant>,
    /// Until when anybody is, in milliseconds since `began`: nobody else has to be looked up.
    some_barred: AtomicU64,
    began: Instant,
    clock: DefaultClock,
    /// By neighbourhood.
    turns: Arc<Shares<IpAddr>>,
    queue: Arc<Shares<IpAddr>>,
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
            tracing::warn!("auth.htpasswd names no user with a bcrypt hash: nobody can log in");
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| AuthError::Random(error.to_string()))?;
        // Any length will do for a key.
        let key = Hmac::new_from_slice(&key).unwrap_or_else(|_| unreachable!("32 bytes are a key"));
        // Half of the machine at most: the rest is for those who are in.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = (cores / 2).max(1);
        Ok(Self {
            users,
            metrics,
            key,
            verdicts: Cache::builder().max_capacity(VERDICTS).time_to_live(VERDICT_LIFE).build(),
            limits: SyncCache::builder()
                // A count that is not kept limits nobody.
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(CLIENTS)
                .time_to_idle(LONGEST)
                .build(),
            barred: SyncCache::builder().max_capacity(CLIENTS).time_to_live(BAR).build(),
            some_barred: AtomicU64::new(0),
            began: Instant::now(),
            clock: DefaultClock::default(),
            turns: Shares::new(turns, turns),
            queue: Shares::new(QUEUE, QUEUE_OF_ONE),
        })
    }

    /// How many users there are.
    pub(super) fn users(&self) -> usize {
        self.users.get().len()
    }

    /// What [`verify`](Self::verify) says, if it needs no comparison.
    pub(super) fn remembered(&self, user: &str, password: &[u8], from: IpAddr) -> Option<Result<Arc<str>, Refusal>> {
        if user.len() > MAX_NAME {
            return Some(Err(Refusal::Wrong));
        }
        if let Err(refusal) = self.not_barred(from) {
            return Some(Err(refusal));
        }
        let users = self.users.get();
        let (found, hash) = self.find(&users, user);
        let seen = self.digest(&[user.as_bytes(), password, hash.as_bytes()]);
        // It is a cache in memory.
        let verdict = self.verdicts.get(&seen).now_or_never()??;
        Some(told(found, verdict))
    }

    /// The user of this name, if this is the password.
    pub(super) async fn verify(&self, user: &str, password: &[u8], from: IpAddr) -> Result<Arc<str>, Refusal> {
        if let Some(remembered) = self.remembered(user, password, from) {
            return remembered;
        }
        let users = self.users.get();
        let (found, hash) = self.find(&users, user);
        let seen = self.digest(&[user.as_bytes(), password, hash.as_bytes()]);
        // Those who ask the same at once share one comparison.
        let compared = self.compare(user, password, hash, from);
        let compared = self.verdicts.try_get_with(seen, compared).await;
        told(found, compared.map_err(|refusal| *refusal)?)
    }

    /// The user of this name as it is written, and the hash that a password is compared with.
    fn find<'a>(&self, users: &'a Users, user: &str) -> (Option<&'a Arc<str>>, &'a Arc<str>) {
        if let Some((name, hash)) = users.get(user) {
            return (Some(name), hash);
        }
        let any = first_bytes(self.digest(&[user.as_bytes()]));
        (None, users.nobodys_hash(any))
    }

    /// Whether this user exists, and what a pass of theirs is bound to: it changes with the password.
    pub(super) fn known(&self, user: &str) -> Option<(Arc<str>, [u8; 32])> {
        let users = self.users.get();
        let (name, hash) = users.get(user)?;
        // Not keyed by the process: other replicas have the same users.
        let bound = <Sha256 as sha2::Digest>::digest(hash.as_bytes());
        Some((Arc::clone(name), bound.into()))
    }

    async fn compare(&self, user: &str, password: &[u8], hash: &Arc<str>, from: IpAddr) -> Result<bool, Refusal> {
        let (one, all) = (self.client(user, from), self.client("", from));
        // A name is counted only where its address may ask: otherwise one could fill the table with names, and so empty
        // it of counts. And guesses for one user are no guesses for others.
        let counted = if self.limits.contains_key(&one) {
            self.count(one, OF_USER).and_then(|()| self.count(all, OF_ADDRESS))
        } else {
            self.count(all, OF_ADDRESS).and_then(|()| self.count(one, OF_USER))
        };
        if let Err(after) = counted {
            if self.count(self.client("refused:", from), REFUSALS).is_err() {
                self.bar(all);
            }
            return Err(Refusal::TooMany(after));
        }
        let near = neighbourhood(from);
        let place = self.queue.take_now(&near, 1);
        let place = place.ok_or(Refusal::TooMany(Duration::from_secs(2)))?;
        let turn = self.turns.take(&near, 1).await;
        let (password, hash) = (password.to_vec(), Arc::clone(hash));
        let compared = tokio::task::spawn_blocking(move || {
            // bcrypt's own form ends at a NUL.
            let right = || bcrypt::verify(&password, &hash).unwrap_or(false);
            let verdict = !password.contains(&0) && right();
            drop((turn, place));
            verdict
        });
        let verdict = compared.await.unwrap_or(false);
        self.metrics.password(verdict);
        Ok(verdict)
    }

    /// One comparison more; if that is one too many, how long to wait.
    fn count(&self, client: [u8; 32], (burst, period): (u32, Duration)) -> Result<(), Duration> {
        let limit = self.limits.get_with(client, || {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            // The period is not zero; if it were, so many a second would do.
            let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst));
            Arc::new(RateLimiter::direct(quota.allow_burst(burst)))
        });
        limit.check().map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn bar(&self, client: [u8; 32]) {
        let until = Instant::now() + BAR;
        self.barred.insert(client, until);
        let millis = until.saturating_duration_since(self.began).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.some_barred.fetch_max(millis, Ordering::Relaxed);
    }

    fn not_barred(&self, from: IpAddr) -> Result<(), Refusal> {
        let last = Duration::from_millis(self.some_barred.load(Ordering::Relaxed));
        if last.is_zero() || self.began.elapsed() > last {
            return Ok(());
        }
        let until = self.barred.get(&self.client("", from));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => Err(Refusal::TooMany(left)),
            _ => Ok(()),
        }
    }

    /// Whose comparisons are counted together: those for a user from an address; without a user, all from the address.
    /// No user's name has a colon.
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

fn told(found: Option<&Arc<str>>, verdict: bool) -> Result<Arc<str>, Refusal> {
    let found = found.filter(|_| verdict);
    found.cloned().ok_or(Refusal::Wrong)
}

fn first_bytes(digest: [u8; 32]) -> usize {
    usize::from_be_bytes(std::array::from_fn(|at| digest[at]))
}
