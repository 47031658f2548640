//! Sessions of browsers: a user that gave a password need not send it with every request.
//!
//! A session is a signed text that the browser keeps as a cookie. It is bound to the user's hash, so that a new password
//! ends it, and so does the removal of the user. Nothing is stored, so that every replica with the same secret takes it;
//! a user that logs out only forgets it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::error::AuthError;
use super::identity::Identity;
use super::passwords::Passwords;
use crate::config::Secret;

/// How long a session lasts.
const LIFE: Duration = Duration::from_hours(8);
/// The `iss` and `aud` of sessions, which no token has.
const OWN: &str = "pounce page";

/// Makes and verifies sessions.
pub(super) struct Sessions {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// A new session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The value of the cookie: letters, digits, `-`, `_` and `.`.
    pub text: String,
    /// How long it lasts.
    pub life: Duration,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: u64,
    sub: String,
    /// A digest of the user's hash, in hexadecimal.
    bound: String,
}

impl Sessions {
    /// `secret` also signs other data, so it is only part of the key.
    pub(super) fn new(secret: &Secret) -> Self {
        let secret = ["pounce session\n", secret.reveal()].concat();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[OWN]);
        validation.set_audience(&[OWN]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// A session of a user that gave the right password; `None` if the user was removed meanwhile.
    pub(super) fn begin(&self, user: &str, passwords: &Passwords) -> Result<Option<Session>, AuthError> {
        let Some((_, bound)) = passwords.user_key(user) else {
            return Ok(None);
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            iss: OWN.to_owned(),
            aud: OWN.to_owned(),
            exp: (since + LIFE).as_secs(),
            sub: user.to_owned(),
            bound: const_hex::encode(bound),
        };
        let text = jsonwebtoken::encode(&Header::default(), &claims, &self.encoding)?;
        Ok(Some(Session { text, life: LIFE }))
    }

    /// The user of a session; `None` if it is not valid, or not any more.
    pub(super) fn verify(&self, text: &str, passwords: &Passwords) -> Option<Identity> {
        let claims: Claims = jsonwebtoken::decode(text, &self.decoding, &self.validation).ok()?.claims;
        let (name, bound) = passwords.user_key(&claims.sub)?;
        let is_bound = claims.bound == const_hex::encode(bound);
        is_bound.then(|| Identity { user: Some(Arc::clone(&name)), ..Identity::ANONYMOUS })
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}
