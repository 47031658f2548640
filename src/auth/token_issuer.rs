//! Tokens that pounce issues itself, if users have passwords and anonymous clients may pull.
//!
//! docker decides by the challenge of `GET /v2/` whether it authenticates. With a `Basic` challenge it cannot pull
//! without a password; without a challenge it never sends one. With a `Bearer` challenge, a client that has a password
//! gets a token for it, and one that has none gets an anonymous token
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::credentials::CredentialsError;
use super::error::AuthError;
use super::passwords::Passwords;
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

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: u64,
    /// The user; none for anonymous clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// A digest of the user's hash, in hexadecimal, so that a new password invalidates old tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
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

    /// A token for an authenticated user, or for an anonymous client.
    pub(super) fn issue(&self, user: Option<&str>, passwords: &Passwords) -> Result<IssuedToken, AuthError> {
        let issued = SystemTime::now();
        let since = issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        let bound = user.and_then(|user| passwords.user_key(user));
        let claims = Claims {
            iss: OWN.to_owned(),
            aud: OWN.to_owned(),
            exp: (since + LIFE).as_secs(),
            sub: user.map(str::to_owned),
            bound: bound.map(|(_, bound)| const_hex::encode(bound)),
        };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.encoding)?;
        Ok(IssuedToken { token, life: LIFE, issued })
    }

    /// The user of a token; `None` for an anonymous client.
    ///
    /// # Errors
    /// The token is invalid or has expired.
    pub(super) fn verify(&self, token: &str, passwords: &Passwords) -> Result<Option<Arc<str>>, CredentialsError> {
        let decoded = jsonwebtoken::decode(token, &self.decoding, &self.validation);
        let claims: Claims = decoded.map_err(|_| CredentialsError::Invalid)?.claims;
        let Some(user) = claims.sub else {
            return Ok(None);
        };
        let (name, bound) = passwords.user_key(&user).ok_or(CredentialsError::Invalid)?;
        match claims.bound {
            Some(text) if text == const_hex::encode(bound) => Ok(Some(name)),
            _ => Err(CredentialsError::Invalid),
        }
    }
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenIssuer")
    }
}
