//! Logins by OIDC: a token of a configured issuer in place of a password.
//!
//! Only the signature of a key that the issuer publishes proves a token, and only the claims that the operator listed
//! admit it. Nothing in a token says where a key is.

mod claims;
mod documents;
mod issuer_keys;
mod key_set;
mod provider;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::attempts::Attempts;
use super::credentials::CredentialsError;
use super::error::AuthError;
use super::identity::OidcLogin;
use crate::config::OidcProvider;
use crate::telemetry::{CredentialsCheck, Metrics};
use documents::Documents;
use provider::{MAX_TOKEN, Provider, Refused};

/// The most verified tokens in memory, and refused ones; one has less than 1 KiB.
const MAX_VERIFIED: u64 = 10_000;
/// How long a verified token is remembered: keys that are removed are trusted for so long.
const VERIFIED_LIFE: Duration = Duration::from_mins(1);
/// How long a refused token is, so that a client which sends it again at once makes one attempt. It may be good soon: its
/// key is new, or its time comes.
const REFUSED_LIFE: Duration = Duration::from_secs(5);

/// Verifies tokens of all providers.
#[derive(Debug)]
pub(super) struct Oidc {
    providers: Vec<Provider>,
    verified: Cache<[u8; 32], Arc<OidcLogin>>,
    refused: Cache<[u8; 32], ()>,
    attempts: Arc<Attempts>,
    metrics: Arc<Metrics>,
}

impl Oidc {
    /// # Errors
    /// A file of CAs cannot be used.
    pub(super) fn open(
        config: &[OidcProvider],
        attempts: Arc<Attempts>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            providers: config.iter().map(Provider::open).collect::<Result<_, _>>()?,
            verified: Cache::builder().max_capacity(MAX_VERIFIED).time_to_live(VERIFIED_LIFE).build(),
            refused: Cache::builder().max_capacity(MAX_VERIFIED).time_to_live(REFUSED_LIFE).build(),
            attempts,
            metrics,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|it| it.name() == name)
    }

    /// Whether a client that calls itself this sends a token in place of a password.
    pub(super) fn is_provider(&self, name: &str) -> bool {
        self.provider(name).is_some()
    }

    /// A digest of the provider's configuration, to which pounce's tokens are bound; `None` if there is none of this
    /// name.
    pub(super) fn bound(&self, name: &str) -> Option<&[u8; 32]> {
        self.provider(name).map(Provider::bound)
    }

    /// The client of a token, if it was verified within the last minute, and this address is not blocked.
    pub(super) fn verify_cached(&self, name: &str, token: &[u8], from: IpAddr) -> Option<Arc<OidcLogin>> {
        if token.len() > MAX_TOKEN || self.attempts.block_left(from).is_some() {
            return None;
        }
        let login = self.verified.get(&self.key(name, token))?;
        (login.expires.saturating_add(provider::SKEW) > provider::now()).then_some(login)
    }

    /// The client of a token of this provider. Only refused tokens count as attempts.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub(super) async fn verify(
        &self,
        name: &str,
        token: &[u8],
        from: IpAddr,
    ) -> Result<Arc<OidcLogin>, CredentialsError> {
        let provider = self.provider(name).ok_or(CredentialsError::UnknownUser)?;
        self.verify_by(&[provider], token, from).await
    }

    /// The client of a token that came without the name of a provider: by the first one that admits it, of those whose
    /// issuer the token names. `None` if there is none of these.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub(super) async fn verify_bearer(
        &self,
        token: &str,
        from: IpAddr,
    ) -> Option<Result<Arc<OidcLogin>, CredentialsError>> {
        // This only chooses which providers verify it.
        let issuer = provider::claimed_issuer(token)?;
        let providers: Vec<_> = self.providers.iter().filter(|it| it.issuer() == issuer).collect();
        if providers.is_empty() {
            return None;
        }
        Some(self.verify_by(&providers, token.as_bytes(), from).await)
    }

    /// The client of a token by the first of these providers, of which there is one, that admits it.
    async fn verify_by(
        &self,
        providers: &[&Provider],
        token: &[u8],
        from: IpAddr,
    ) -> Result<Arc<OidcLogin>, CredentialsError> {
        if let Some(left) = self.attempts.block_left(from) {
            return Err(CredentialsError::TooManyAttempts(left));
        }
        let mut last = None;
        for provider in providers {
            let (name, key) = (provider.name(), self.key(provider.name(), token));
            if let Some(login) = self.verify_cached(name, token, from) {
                return Ok(login);
            }
            if self.refused.contains_key(&key) {
                continue;
            }
            let text = str::from_utf8(token).ok().filter(|text| text.len() <= MAX_TOKEN);
            let verified = match text {
                Some(text) => provider.verify(text).await,
                None => Err(Refused::Invalid("it is no token, or larger than 16 KiB".to_owned())),
            };
            match verified {
                Ok(login) => {
                    self.metrics.oidc(CredentialsCheck::Accepted);
                    let login = Arc::new(login);
                    self.verified.insert(key, Arc::clone(&login));
                    return Ok(login);
                }
                Err(refused) => last = Some((name, key, refused)),
            }
        }
        Err(last.map_or(CredentialsError::Invalid, |(name, key, refused)| self.refuse(name, key, refused, from)))
    }

    /// Counts a token that no provider admits, and says why the last one does not.
    fn refuse(&self, name: &str, key: [u8; 32], refused: Refused, from: IpAddr) -> CredentialsError {
        let why = match refused {
            Refused::Unavailable(after) => {
                self.metrics.oidc(CredentialsCheck::Unavailable);
                return CredentialsError::Unavailable(after);
            }
            Refused::Invalid(why) => why,
        };
        self.metrics.oidc(CredentialsCheck::Refused);
        // No user with a password has a colon in its name.
        if let Err(after) = self.attempts.count(&format!("oidc:{name}"), from) {
            return CredentialsError::TooManyAttempts(after);
        }
        self.refused.insert(key, ());
        tracing::info!(provider = name, why, "auth: a token was refused");
        CredentialsError::Invalid
    }

    fn key(&self, name: &str, token: &[u8]) -> [u8; 32] {
        self.attempts.digest(&[b"oidc", name.as_bytes(), token])
    }
}

/// Asks an issuer for its documents once; returns how many keys it has.
///
/// # Errors
/// Why they cannot be used.
pub async fn probe_issuer(provider: &OidcProvider) -> Result<usize, String> {
    let read = Documents::new(provider).read(None).await?;
    Ok(read.keys.len())
}
