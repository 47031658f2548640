//! Tokens that pounce makes itself, where users have passwords and anonymous clients may pull.
//!
//! docker decides by the answer to `GET /v2/` whether it says who it is, for pulls and for pushes. With `Basic` asked
//! for, it cannot pull without a password; with nothing asked for, it never sends one. With `Bearer` asked for, a
//! client that has a password trades it for a token, and one that has none gets a token all the same, an anonymous one
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::passwords::Passwords;
use super::{AuthError, Refusal};
use crate::config::Secret;

/// How long a token is good for.
const LIFE: Duration = Duration::from_mins(5);
/// In `iss` and `aud`: no other token fits.
const OWN: &str = "pounce";

/// Makes and reads such tokens. Replicas with the same secret read each other's.
pub(super) struct Passes {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

/// A token, as clients get it.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The token.
    pub token: String,
    /// How long it is good for.
    pub life: Duration,
    /// Since when.
    pub issued: SystemTime,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: u64,
    /// The user; nobody, for anonymous clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// A digest of the user's hash, in hexadecimal: a new password makes old tokens useless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
}

impl Passes {
    /// `secret` signs other things too, so it is not the key itself.
    pub(super) fn new(secret: &Secret) -> Self {
        let secret = ["pounce token\n", secret.reveal()].concat();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[OWN]);
        validation.set_audience(&[OWN]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Self {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            verify: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// A token for a user who has shown the password, or for nobody.
    pub(super) fn issue(&self, user: Option<&str>, passwords: &Passwords) -> Result<Pass, AuthError> {
        let issued = SystemTime::now();
        let since = issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        let bound = user.and_then(|user| passwords.known(user));
        let claims = Claims {
            iss: OWN.to_owned(),
            aud: OWN.to_owned(),
            exp: (since + LIFE).as_secs(),
            sub: user.map(str::to_owned),
            bound: bound.map(|(_, bound)| const_hex::encode(bound)),
        };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.sign)?;
        Ok(Pass { token, life: LIFE, issued })
    }

    /// Whose token it is; nobody's, if it was given to an anonymous client.
    ///
    /// # Errors
    /// It is not one, or not any more.
    pub(super) fn read(&self, token: &str, passwords: &Passwords) -> Result<Option<Arc<str>>, Refusal> {
        let decoded = jsonwebtoken::decode(token, &self.verify, &self.validation);
        let claims: Claims = decoded.map_err(|_| Refusal::Wrong)?.claims;
        let Some(user) = claims.sub else {
            return Ok(None);
        };
        let (name, bound) = passwords.known(&user).ok_or(Refusal::Wrong)?;
        match claims.bound {
            Some(text) if text == const_hex::encode(bound) => Ok(Some(name)),
            _ => Err(Refusal::Wrong),
        }
    }
}

impl std::fmt::Debug for Passes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passes")
    }
}
