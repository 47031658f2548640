//! The configured way to log in, with all that it needs.

use std::sync::Arc;

use super::attempts::Attempts;
use super::bucket_keys::{self, BucketKeys, KeyVerifier};
use super::error::AuthError;
use super::new_user;
use super::oidc::Oidc;
use super::ollama_keys::OllamaKeys;
use super::passwords::Passwords;
use super::rules::Rules;
use super::sessions::Sessions;
use super::token_issuer::TokenIssuer;
use super::tokens::TokenVerifier;
use crate::config::{Auth, HostNames, Scheme as ConfiguredScheme, Secret, WebUrl};
use crate::oci::Action;
use crate::telemetry::Metrics;

/// How clients log in.
#[derive(Debug)]
pub(super) enum Scheme {
    /// No client logs in, and all may do this.
    Open(Vec<Action>),
    /// By password, by a token of an OIDC provider, by keys of the bucket, or by a key of Ollama's.
    Own {
        realm: String,
        /// `None` where only OIDC providers, or the bucket, log clients in.
        passwords: Option<Box<Passwords>>,
        oidc: Box<Oidc>,
        bucket_keys: Option<Arc<BucketKeys>>,
        /// Of all of them.
        attempts: Arc<Attempts>,
        /// Ollama's.
        keys: OllamaKeys,
        /// Issues tokens, if anonymous clients may do something, or there are providers or keys.
        issuer: Option<Box<TokenIssuer>>,
        /// Of browsers.
        sessions: Box<Sessions>,
    },
    Token {
        verifier: Box<TokenVerifier>,
        /// The token server; `None` if it is at `path` of pounce's own host.
        realm: Option<String>,
        path: String,
        service: String,
    },
}

impl Scheme {
    /// The configured scheme: see [`Access::open`](super::Access::open). Of the scheme `before`, attempts are counted on,
    /// and what the bucket said of keys is still believed.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub(super) fn open(
        config: &Auth,
        secret: &Secret,
        rules: &Rules,
        hosts: &HostNames,
        verifier: Option<Arc<dyn KeyVerifier>>,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, AuthError> {
        let (counted, known) = match before {
            Some(Self::Own { attempts, bucket_keys, .. }) => (Some(Arc::clone(attempts)), bucket_keys.clone()),
            _ => (None, None),
        };
        Ok(match config.scheme {
            ConfiguredScheme::Open => Scheme::Open(config.without_login().to_vec()),
            ConfiguredScheme::Htpasswd | ConfiguredScheme::Oidc | ConfiguredScheme::BucketKeys => {
                let attempts = counted.map_or_else(|| Attempts::new().map(Arc::new), Ok)?;
                let (life, shared) = (config.bucketkeyslife, (Arc::clone(&attempts), Arc::clone(metrics)));
                let new = |verifier| Arc::new(BucketKeys::new(verifier, life, shared.0, shared.1));
                let verifier = verifier.filter(|_| config.bucketkeys);
                let bucket_keys = verifier.map(|verifier| known.unwrap_or_else(|| new(verifier)));
                let oidc = Oidc::open(&config.oidc, Arc::clone(&attempts), Arc::clone(metrics))?;
                let keys = OllamaKeys::new(&config.ollama.keys);
                let issues_tokens = rules.admit_anonymous() || !keys.is_empty() || !oidc.is_empty();
                Scheme::Own {
                    realm: config.htpasswd.realm().to_owned(),
                    passwords: open_passwords(config, Arc::clone(&attempts), metrics)?,
                    oidc: Box::new(oidc),
                    bucket_keys,
                    attempts,
                    keys,
                    issuer: issues_tokens.then(|| Box::new(TokenIssuer::new(secret))),
                    sessions: Box::new(Sessions::new(secret)),
                }
            }
            ConfiguredScheme::Token => {
                let token = &config.token;
                let realm = token.realm.as_ref().map(WebUrl::as_url).filter(|_| !token.is_beside());
                Scheme::Token {
                    verifier: Box::new(TokenVerifier::open(token, hosts)?),
                    realm: realm.map(ToString::to_string),
                    path: token.path().to_owned(),
                    service: token.service.clone().unwrap_or_default(),
                }
            }
        })
    }

    /// What verifies a client that calls itself this, if that may be an id of keys of the bucket. Users with passwords
    /// come first, so that the bucket never gets a password.
    pub(super) fn bucket_keys_of(&self, user: &str) -> Option<&BucketKeys> {
        let Self::Own { passwords, oidc, bucket_keys: Some(keys), .. } = self else {
            return None;
        };
        let has_user = || passwords.as_ref().is_some_and(|passwords| passwords.has_user(user));
        (bucket_keys::is_id(user) && !oidc.is_provider(user) && !has_user()).then_some(&**keys)
    }
}

/// The users with passwords, if there may be any. No user has the name of a provider.
fn open_passwords(
    config: &Auth,
    attempts: Arc<Attempts>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Box<Passwords>>, AuthError> {
    if config.scheme != ConfiguredScheme::Htpasswd {
        return Ok(None);
    }
    new_user::first_user(&config.htpasswd)?;
    let reserved = config.oidc.iter().map(|provider| provider.name().to_owned()).collect();
    Passwords::open(&config.htpasswd, reserved, attempts, Arc::clone(metrics)).map(Box::new).map(Some)
}
