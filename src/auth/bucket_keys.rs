//! Logins with keys of the bucket: `auth.bucketkeys`. What the keys may do there is the most that the client may do
//! here.
//!
//! The bucket knows the keys, so that it is asked. Its answer is believed for five minutes, tokens and sessions
//! included: a key that was taken back is of no use after that, even while the bucket does not answer. It is kept under
//! a keyed digest of the id and the secret. As with passwords, guesses are limited, and known keys are let in beyond
//! that limit.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use moka::Expiry;
use moka::future::Cache;
use sha2::{Digest, Sha256};

use super::attempts::Attempts;
use super::credentials::CredentialsError;
use super::identity::BucketLogin;
use crate::client_network::neighbourhood;
use crate::config::{BUCKET, BucketKeysLife};
use crate::fair_semaphore::FairSemaphore;
use crate::oci::Action;
use crate::telemetry::{CredentialsCheck, Metrics};

/// How long an id is: AWS has these bounds (IAM, `AccessKey`), and the ids of other stores are within them. A shorter
/// name is that of a user with a password, and never sent to the bucket.
const ID: std::ops::RangeInclusive<usize> = 16..=128;
/// The longest secret. AWS has 40 characters, and Tigris some 70.
const MAX_SECRET: usize = 256;
/// The most answers that are kept; one has some 500 bytes.
const MAX_VERDICTS: u64 = 10_000;
/// How long a refusal is kept: a key that is new may be known soon.
const REFUSED_LIFE: Duration = Duration::from_secs(30);
/// Requests for keys at once, and those of one neighbourhood: each may take some seconds.
const PARALLEL: usize = 16;
const PARALLEL_OF_ONE: usize = 8;
/// The same, with those that wait for it.
const QUEUE: usize = 512;
const QUEUE_OF_ONE: usize = 16;
/// When a client may ask again while the bucket does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Asks the bucket what keys may do there.
pub trait KeyVerifier: Debug + Send + Sync {
    /// What keys may do.
    ///
    /// # Errors
    /// The bucket does not tell now. The verifier logs why.
    fn verify<'a>(&'a self, id: &'a str, secret: &'a str) -> BoxFuture<'a, Result<KeyVerdict, Unverified>>;

    /// Which bucket it is, and where: another one does not vouch for its tokens.
    fn bucket(&self) -> &str;
}

/// What keys may do in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// They are no keys of the bucket.
    Unknown,
    /// The bucket refuses to let them read it.
    Unreadable,
    /// This.
    May(Vec<Action>),
}

/// The bucket does not tell whether keys are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified;

/// Verifies keys.
#[derive(Debug)]
pub(super) struct BucketKeys {
    verifier: Arc<dyn KeyVerifier>,
    verdicts: Cache<[u8; 32], Verdict>,
    attempts: Arc<Attempts>,
    metrics: Arc<Metrics>,
    probes: Arc<FairSemaphore<IpAddr>>,
    queue: Arc<FairSemaphore<IpAddr>>,
    life: Duration,
    bound: [u8; 32],
}

/// An answer of the bucket's that is kept.
#[derive(Clone, Debug)]
enum Verdict {
    Accepted(Arc<BucketLogin>),
    Refused,
}

impl Verdict {
    fn result(self) -> Result<Arc<BucketLogin>, CredentialsError> {
        match self {
            Self::Accepted(login) => Ok(login),
            Self::Refused => Err(CredentialsError::Invalid),
        }
    }
}

/// How long verdicts are kept. A token for keys that are known lives for another fifth of five minutes at least,
/// because clients count on a minute (<https://distribution.github.io/distribution/spec/auth/token/>).
struct Kept(Duration);

impl Expiry<[u8; 32], Verdict> for Kept {
    fn expire_after_create(&self, _: &[u8; 32], verdict: &Verdict, _: Instant) -> Option<Duration> {
        Some(match verdict {
            Verdict::Accepted(_) => self.0 * 4 / 5,
            Verdict::Refused => REFUSED_LIFE.min(self.0),
        })
    }
}

impl BucketKeys {
    pub(super) fn new(
        verifier: Arc<dyn KeyVerifier>,
        BucketKeysLife(life): BucketKeysLife,
        attempts: Arc<Attempts>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            verdicts: Cache::builder().max_capacity(MAX_VERDICTS).expire_after(Kept(life)).build(),
            bound: Sha256::digest(verifier.bucket()).into(),
            verifier,
            attempts,
            metrics,
            probes: FairSemaphore::new(PARALLEL, PARALLEL_OF_ONE),
            queue: FairSemaphore::new(QUEUE, QUEUE_OF_ONE),
            life,
        }
    }

    /// The client with these keys, if that needs no request. Of an address that guesses too much, no keys are good.
    pub(super) fn verify_cached(
        &self,
        id: &str,
        secret: &[u8],
        from: IpAddr,
    ) -> Option<Result<Arc<BucketLogin>, CredentialsError>> {
        if secret_text(secret).is_none() {
            return Some(Err(CredentialsError::Invalid));
        }
        if let Some(left) = self.attempts.block_left(from) {
            return Some(Err(CredentialsError::TooManyAttempts(left)));
        }
        // The cache is in memory, so its futures are ready at once.
        let key = self.key(id, secret);
        let verdict = self.verdicts.get(&key).now_or_never()??;
        if let Verdict::Accepted(login) = &verdict
            && login.expires <= now().as_secs()
        {
            // The machine slept, and the cache's clock stood still meanwhile.
            self.verdicts.invalidate(&key).now_or_never();
            return None;
        }
        Some(verdict.result())
    }

    /// The client with these keys.
    ///
    /// # Errors
    /// See [`CredentialsError`]. Whether there is such an id, and whether it may read, is the same to the client.
    pub(super) async fn verify(
        &self,
        id: &str,
        secret: &[u8],
        from: IpAddr,
    ) -> Result<Arc<BucketLogin>, CredentialsError> {
        if let Some(cached) = self.verify_cached(id, secret, from) {
            return cached;
        }
        let text = secret_text(secret).ok_or(CredentialsError::Invalid)?;
        // Equal logins at the same time share the requests.
        let verdict = self.verdicts.try_get_with(self.key(id, secret), self.ask(id, text, from)).await;
        verdict.map_err(|error| *error)?.result()
    }

    async fn ask(&self, id: &str, secret: &str, from: IpAddr) -> Result<Verdict, CredentialsError> {
        // No user with a password has a colon in its name.
        let user = format!("{BUCKET}:{id}");
        self.attempts.count(&user, from).map_err(CredentialsError::TooManyAttempts)?;
        let near = neighbourhood(from);
        let queued = self.queue.take_now(&near, 1);
        let _queued = queued.ok_or(CredentialsError::TooManyAttempts(Duration::from_secs(2)))?;
        let _permit = self.probes.take(&near, 1).await;
        let expires = now() + self.life;
        let why = match self.verifier.verify(id, secret).await {
            Err(Unverified) => {
                self.metrics.bucket_keys(CredentialsCheck::Unavailable);
                self.attempts.forgive(&user, from);
                return Err(CredentialsError::Unavailable(RETRY_AFTER));
            }
            Ok(KeyVerdict::May(actions)) => {
                self.metrics.bucket_keys(CredentialsCheck::Accepted);
                let login = BucketLogin { user: user.into(), actions, bound: self.bound, expires: expires.as_secs() };
                return Ok(Verdict::Accepted(Arc::new(login)));
            }
            Ok(KeyVerdict::Unknown) => "the bucket does not know them",
            Ok(KeyVerdict::Unreadable) => "they may not read the bucket, or it does not know them",
        };
        self.metrics.bucket_keys(CredentialsCheck::Refused);
        tracing::info!(why, "auth: keys of the bucket were refused");
        Ok(Verdict::Refused)
    }

    /// The login that a token or a session of pounce's own says, if that is of this bucket, and not too old.
    pub(super) fn resume(&self, login: BucketLogin) -> Option<Arc<BucketLogin>> {
        let is_good = login.bound == self.bound && login.expires > now().as_secs();
        is_good.then(|| Arc::new(login))
    }

    fn key(&self, id: &str, secret: &[u8]) -> [u8; 32] {
        self.attempts.digest(&[BUCKET.as_bytes(), id.as_bytes(), secret])
    }
}

/// Whether a name may be the id of keys.
pub(super) fn is_id(name: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    is_long_enough(name) && name.len() <= *ID.end() && name.bytes().all(is_of_id)
}

/// Whether a name is as long as an id, or longer. It may be a secret that was put in the place of the name.
pub(super) fn is_long_enough(name: &str) -> bool {
    name.len() >= *ID.start()
}

fn secret_text(secret: &[u8]) -> Option<&str> {
    let is_possible = (1..=MAX_SECRET).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    str::from_utf8(secret).ok().filter(|_| is_possible)
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_known_stores_are_ids_and_names_are_not() {
        for id in [
            "AKIAIOSFODNN7EXAMPLE",
            "tid_FxkGBZOvRTlHpEcPhODjLdgAa-_x",
            "023e105f4ecef8ad9ca31a8372d0c353",
            "GK31c2f218a2e44f485b94239e",
            "GOOG1EXAMPLEQ7WHSVQ2XHEXAMPLE2SI4PPXXEXAMPLETBLJBTNSKCCEXAMPLE",
            "0014d2c0d7d4e5f0000000001",
            &"a".repeat(128),
        ] {
            assert!(is_id(id), "{id}");
        }
        for name in
            ["", "alice", "ci-deployer", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "docker-ci@example.com", "ä1234567890123456"]
        {
            assert!(!is_id(name), "{name}");
        }
        assert!(!is_id(&"a".repeat(129)));
    }

    #[test]
    fn secrets_of_absurd_forms_are_not_sent() {
        for secret in [&b"wJalrXUtnFEMI/K7MDENG/bPxRfiCY+EXAMPLEKEY="[..], b"tsec_1", &[b'x'; 256]] {
            assert!(secret_text(secret).is_some());
        }
        for secret in [&b""[..], b"a b", b"a\n", b"a\0", "ä".as_bytes(), b"\xff", &[b'x'; 257]] {
            assert!(secret_text(secret).is_none(), "{secret:?}");
        }
    }
}
