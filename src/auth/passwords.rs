//! Verification of passwords, with a cache and rate limits.
//!
//! bcrypt takes a core for some 50 ms. So results are cached under a keyed digest of user, password and hash;
//! comparisons run on blocking threads, a few at once; and their rate is limited for each client ([`Attempts`]). Cached
//! results are returned beyond that limit, so that guesses cannot lock a user out; but not to an address that goes on
//! guessing, because the right guess would stand out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use moka::future::Cache;
use sha2::Sha256;

use super::attempts::Attempts;
use super::credentials::CredentialsError;
use super::error::AuthError;
use super::htpasswd::Users;
use super::new_user::MAX_NAME;
use crate::client_network::neighbourhood;
use crate::config::{Htpasswd, Secret};
use crate::fair_semaphore::FairSemaphore;
use crate::reload::Reloaded;
use crate::telemetry::Metrics;

/// The size of the cache of results; one has some 200 bytes.
const MAX_RESULTS: u64 = 10_000;
/// The lifetime of a result. A changed hash has another entry, so an old password does not work for so long.
const RESULT_LIFE: Duration = Duration::from_mins(5);
/// The most requests that wait for a comparison, and those of one neighbourhood: some seconds' worth of comparisons.
/// Neighbourhoods are served in turn, so a first login from one waits for at most one comparison of each other.
const QUEUE: usize = 512;
const QUEUE_OF_ONE: usize = 16;

/// Verifies passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    users: Reloaded<Users>,
    metrics: Arc<Metrics>,
    results: Cache<[u8; 32], bool>,
    attempts: Arc<Attempts>,
    /// Permits for comparisons, and for waiting requests, by neighbourhood.
    comparisons: Arc<FairSemaphore<IpAddr>>,
    queue: Arc<FairSemaphore<IpAddr>>,
}

impl Passwords {
    /// No user may have one of the `reserved` names.
    ///
    /// # Errors
    /// The users cannot be read.
    pub(super) fn open(
        config: &Htpasswd,
        reserved: Vec<String>,
        attempts: Arc<Attempts>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthError> {
        let (path, text) = (config.path.clone(), config.users.clone());
        let files = path.clone().into_iter().collect();
        let read = move || Users::read(path.as_deref(), text.as_ref().map(Secret::reveal), &reserved);
        let users = Reloaded::of("auth.htpasswd.path", files, read)?;
        if users.get().len() == 0 {
            tracing::warn!(
                "auth.htpasswd.path names a file without a user that has a bcrypt hash: no client can log in until \
                 `pounce htpasswd --file FILE USER` adds one, which needs no restart"
            );
        }
        // At most half of the cores: the rest is for authenticated clients.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parallel = (cores / 2).max(1);
        Ok(Self {
            users,
            metrics,
            results: Cache::builder().max_capacity(MAX_RESULTS).time_to_live(RESULT_LIFE).build(),
            attempts,
            comparisons: FairSemaphore::new(parallel, parallel),
            queue: FairSemaphore::new(QUEUE, QUEUE_OF_ONE),
        })
    }

    /// The number of users.
    pub(super) fn users(&self) -> usize {
        self.users.get().len()
    }

    /// Whether there is a user of this name.
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.users.get().get(name).is_some()
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
        if let Some(left) = self.attempts.block_left(from) {
            return Some(Err(CredentialsError::TooManyAttempts(left)));
        }
        let users = self.users.get();
        let (name, hash) = self.find(&users, user);
        let key = self.attempts.digest(&[user.as_bytes(), password, hash.as_bytes()]);
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
        let key = self.attempts.digest(&[user.as_bytes(), password, hash.as_bytes()]);
        // Equal requests at the same time share one comparison.
        let compared = self.results.try_get_with(key, self.compare(user, password, hash, from)).await;
        result(name, compared.map_err(|error| *error)?)
    }

    /// The user's name, if there is one, and the hash to compare the password with.
    fn find<'a>(&self, users: &'a Users, user: &str) -> (Option<&'a Arc<str>>, &'a Arc<str>) {
        if let Some((name, hash)) = users.get(user) {
            return (Some(name), hash);
        }
        let digest = self.attempts.digest(&[user.as_bytes()]);
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
        self.attempts.count(user, from).map_err(CredentialsError::TooManyAttempts)?;
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
}

fn result(name: Option<&Arc<str>>, is_right: bool) -> Result<Arc<str>, CredentialsError> {
    let name = name.ok_or(CredentialsError::UnknownUser)?;
    if is_right { Ok(Arc::clone(name)) } else { Err(CredentialsError::WrongPassword) }
}
