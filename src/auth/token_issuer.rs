//! Tokens that pounce issues itself, if users have passwords and anonymous clients may pull, to users with keys of
//! Ollama, for tokens of OIDC providers, and for keys of the bucket.
//!
//! docker decides by the challenge of `GET /v2/` whether it authenticates. With a `Basic` challenge it cannot pull
//! without a password; without a challenge it never sends one. With a `Bearer` challenge, a client that has a password
//! gets a token for it, and one that has none gets an anonymous token
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::bucket_keys::BucketKeys;
use super::credentials::CredentialsError;
use super::error::AuthError;
use super::identity::{BucketLogin, Identity, KeyLogin, OidcLogin};
use super::oidc::Oidc;
use super::ollama_keys::OllamaKeys;
use super::passwords::Passwords;
use super::tokens::Grants;
use crate::config::Secret;

/// The lifetime of a token.
const LIFE: Duration = Duration::from_mins(5);
/// The `iss` and `aud` of these tokens, which no other token has.
const OWN: &str = "pounce";

/// Issues and verifies tokens. Replicas with the same secret accept each other's.
pub(super) struct TokenIssuer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// A new token.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// Its lifetime.
    pub life: Duration,
    /// The start of its lifetime.
    pub issued: SystemTime,
}

/// What tokens are bound to.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) passwords: Option<&'a Passwords>,
    pub(super) keys: &'a OllamaKeys,
    pub(super) oidc: &'a Oidc,
    pub(super) bucket_keys: Option<&'a BucketKeys>,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: u64,
    /// The user; none for anonymous clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// A digest of the user's hash, or of the configuration of the OIDC provider, in hexadecimal: another password or
    /// configuration invalidates old tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
    /// The user's key, in hexadecimal, to which the token is bound in place of a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The user's OIDC provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oidc: Option<String>,
    /// What the keys of the bucket may do there that the token is for; `bound` is to where the bucket is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    /// The scopes of a token for a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    scopes: String,
}

impl TokenIssuer {
    /// `secret` also signs other data, so it is only part of the key.
    pub(super) fn new(secret: &Secret) -> Self {
        let secret = ["pounce token\n", secret.reveal()].concat();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[OWN]);
        validation.set_audience(&[OWN]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// A token for a user with a password, or for an anonymous client.
    pub(super) fn issue(&self, user: Option<&str>, passwords: Option<&Passwords>) -> Result<IssuedToken, AuthError> {
        let bound = user.and_then(|user| passwords?.user_key(user));
        self.sign(LIFE, |exp| Claims {
            sub: user.map(str::to_owned),
            bound: bound.map(|(_, bound)| const_hex::encode(bound)),
            ..Claims::until(exp)
        })
    }

    /// A token for a user that logged in with a key.
    pub(super) fn issue_for_key(&self, user: &str, login: &KeyLogin) -> Result<IssuedToken, AuthError> {
        let left = login.expires.saturating_sub(seconds(SystemTime::now()));
        self.sign(LIFE.min(Duration::from_secs(left)), |exp| Claims {
            sub: Some(user.to_owned()),
            key: Some(const_hex::encode(login.key.bytes())),
            scopes: login.scopes.clone(),
            ..Claims::until(exp)
        })
    }

    /// A token for the token of an OIDC provider. It may outlive that, so that a long push ends well.
    pub(super) fn issue_for_oidc(&self, login: &OidcLogin) -> Result<IssuedToken, AuthError> {
        self.sign(login.life, |exp| Claims {
            sub: Some(login.user.to_string()),
            bound: Some(const_hex::encode(login.bound)),
            oidc: Some(login.provider.to_string()),
            ..Claims::until(exp)
        })
    }

    /// A token for keys of the bucket, which ends when the bucket has to be asked again.
    pub(super) fn issue_for_bucket(&self, login: &BucketLogin) -> Result<IssuedToken, AuthError> {
        let left = login.expires.saturating_sub(seconds(SystemTime::now()));
        self.sign(Duration::from_secs(left), |exp| Claims {
            sub: Some(login.user.to_string()),
            bound: Some(const_hex::encode(login.bound)),
            bucket: Some(login.written_actions()),
            ..Claims::until(exp)
        })
    }

    fn sign(&self, life: Duration, claims: impl FnOnce(u64) -> Claims) -> Result<IssuedToken, AuthError> {
        let issued = SystemTime::now();
        let claims = claims(seconds(issued).saturating_add(life.as_secs()));
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.encoding)?;
        Ok(IssuedToken { token, life, issued })
    }

    /// The client of a token, which may be anonymous.
    ///
    /// # Errors
    /// The token is invalid or has expired; or its user has another password, or not the key any more; or its provider
    /// has another configuration; or it is for keys of the bucket, and that has another name.
    pub(super) fn verify(&self, token: &str, known: &Known<'_>) -> Result<Identity, CredentialsError> {
        let Known { passwords, keys, oidc, bucket_keys } = *known;
        let decoded = jsonwebtoken::decode(token, &self.decoding, &self.validation);
        let claims: Claims = decoded.map_err(|_| CredentialsError::Invalid)?.claims;
        let Some(user) = claims.sub else {
            return Ok(Identity { has_token: true, ..Identity::ANONYMOUS });
        };
        if let Some(key) = &claims.key {
            let name = keys.user(key).filter(|name| ***name == *user).ok_or(CredentialsError::Invalid)?;
            let grants = Grants::of_scopes(Arc::clone(name), &claims.scopes, claims.exp);
            let (user, grants) = (Some(Arc::clone(name)), Some(Arc::new(grants)));
            return Ok(Identity { user, grants, has_token: true, ..Identity::ANONYMOUS });
        }
        if let Some(actions) = &claims.bucket {
            let bound = claims.bound.and_then(|bound| const_hex::decode_to_array(bound).ok()).unwrap_or_default();
            let actions = BucketLogin::read_actions(actions);
            // Without the minute for which other tokens are good after their end.
            let login = BucketLogin { user: user.into(), actions, bound, expires: claims.exp };
            let login = bucket_keys.and_then(|keys| keys.resume(login)).ok_or(CredentialsError::Invalid)?;
            return Ok(Identity { has_token: true, ..Identity::of_bucket(login) });
        }
        let known = match &claims.oidc {
            Some(provider) => oidc.bound(provider).map(|bound| (user.into(), *bound)),
            None => passwords.and_then(|passwords| passwords.user_key(&user)),
        };
        match (known, claims.bound) {
            (Some((name, bound)), Some(text)) if text == const_hex::encode(bound) => {
                Ok(Identity { user: Some(name), has_token: true, ..Identity::ANONYMOUS })
            }
            _ => Err(CredentialsError::Invalid),
        }
    }
}

impl Claims {
    /// Those of a token that ends at this time, in seconds since 1970.
    fn until(exp: u64) -> Self {
        Self {
            iss: OWN.to_owned(),
            aud: OWN.to_owned(),
            exp,
            sub: None,
            bound: None,
            key: None,
            oidc: None,
            bucket: None,
            scopes: String::new(),
        }
    }
}

/// In seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenIssuer")
    }
}
