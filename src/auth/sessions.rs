//! Sessions of browsers: a user that gave a password need not send it with every request.
//!
//! A session is a signed text that the browser keeps as a cookie. It is bound to the user's hash, so that a new
//! password ends it, and so does the removal of the user. One for keys of the bucket ends when the bucket has to be
//! asked again, within five minutes, because pounce does not keep the secret of the keys. Nothing is stored, so that
//! every replica with the same `http.secret` takes it; a user that logs out only forgets it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::bucket_keys::BucketKeys;
use super::error::AuthError;
use super::identity::{BucketLogin, Identity};
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
    /// A digest of the user's hash, or of where the bucket is, in hexadecimal.
    bound: String,
    /// What the user's keys of the bucket may do there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
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
        self.sign(user, bound, LIFE, None).map(Some)
    }

    /// A session of a user with keys of the bucket.
    pub(super) fn begin_for_bucket(&self, login: &BucketLogin) -> Result<Session, AuthError> {
        let left = Duration::from_secs(login.expires).saturating_sub(now());
        self.sign(&login.user, login.bound, left, Some(login.written_actions()))
    }

    fn sign(&self, user: &str, bound: [u8; 32], life: Duration, bucket: Option<String>) -> Result<Session, AuthError> {
        let claims = Claims {
            iss: OWN.to_owned(),
            aud: OWN.to_owned(),
            exp: (now() + life).as_secs(),
            sub: user.to_owned(),
            bound: const_hex::encode(bound),
            bucket,
        };
        let text = jsonwebtoken::encode(&Header::default(), &claims, &self.encoding)?;
        Ok(Session { text, life })
    }

    /// The user of a session; `None` if it is not valid, or not any more.
    pub(super) fn verify(
        &self,
        text: &str,
        passwords: Option<&Passwords>,
        bucket_keys: Option<&BucketKeys>,
    ) -> Option<Identity> {
        let claims: Claims = jsonwebtoken::decode(text, &self.decoding, &self.validation).ok()?.claims;
        if let Some(actions) = &claims.bucket {
            let bound = const_hex::decode_to_array(&claims.bound).ok()?;
            let actions = BucketLogin::read_actions(actions);
            let login = BucketLogin { user: claims.sub.into(), actions, bound, expires: claims.exp };
            return bucket_keys?.resume(login).map(Identity::of_bucket);
        }
        let (name, bound) = passwords?.user_key(&claims.sub)?;
        let is_bound = claims.bound == const_hex::encode(bound);
        is_bound.then(|| Identity { user: Some(Arc::clone(&name)), ..Identity::ANONYMOUS })
    }
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}
