//! One of `auth.oidc`: what makes a token good, and which user it is for.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::claims;
use super::documents::Documents;
use super::issuer_keys::{IssuerKeys, Unavailable};
use crate::auth::error::AuthError;
use crate::auth::identity::OidcLogin;
use crate::config::{OidcProvider, SecureUrl, SigningAlgorithm};

/// The longest token, in bytes.
pub(super) const MAX_TOKEN: usize = 16 << 10;
/// The allowed difference of pounce's and the issuer's clock, in seconds.
pub(super) const SKEW: u64 = 60;

/// Verifies the tokens of one provider.
#[derive(Debug)]
pub(super) struct Provider {
    config: OidcProvider,
    name: Arc<str>,
    bound: [u8; 32],
    keys: Arc<IssuerKeys>,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no good token here; for the log.
    Invalid(String),
    /// The issuer's keys are not known, and it cannot be asked before this time.
    Unavailable(Duration),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<Unavailable> for Refused {
    fn from(Unavailable(after): Unavailable) -> Self {
        Self::Unavailable(after)
    }
}

impl Provider {
    /// # Errors
    /// Its file of CAs cannot be used.
    pub(super) fn open(config: &OidcProvider) -> Result<Self, AuthError> {
        let documents = Documents::new(config);
        documents.check_ca()?;
        // It is plain data. Replicas with the same configuration accept each other's tokens.
        let written = serde_json::to_vec(config).unwrap_or_default();
        Ok(Self {
            name: config.name().into(),
            bound: Sha256::digest(written).into(),
            keys: Arc::new(IssuerKeys::new(config.name(), documents)),
            config: config.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn bound(&self) -> &[u8; 32] {
        &self.bound
    }

    pub(super) fn issuer(&self) -> &str {
        self.config.issuer.as_ref().map_or("", SecureUrl::as_str)
    }

    /// The client of a token that a key of the issuer signed for pounce, that is valid now, and whose claims the
    /// configuration admits.
    pub(super) async fn verify(&self, token: &str) -> Result<OidcLogin, Refused> {
        let header = jsonwebtoken::decode_header(token)?;
        let is_public =
            SigningAlgorithm::ALL.iter().any(|it| it.as_str().parse() == Ok::<Algorithm, Error>(header.alg));
        if !is_public {
            return Err(Error::from(ErrorKind::InvalidAlgorithm).into());
        }
        // Critical extensions, of which pounce knows none (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(Error::from(ErrorKind::InvalidToken).into());
        }
        let claims = self.signed(token, &header).await?;
        self.check_issued(&claims).map_err(Refused::Invalid)?;
        let user = claims::user(&self.config, &claims).map_err(Refused::Invalid)?;
        Ok(OidcLogin {
            user: user.into(),
            provider: Arc::clone(&self.name),
            bound: self.bound,
            life: self.config.life,
            expires: seconds(&claims["exp"]).unwrap_or(0),
        })
    }

    /// The claims of a token, if a key of the issuer signed it.
    async fn signed(&self, token: &str, header: &Header) -> Result<Value, Refused> {
        let keys = self.keys.get(header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = SKEW;
        validation.validate_nbf = true;
        validation.set_issuer(&[self.issuer()]);
        validation.set_audience(&[self.config.audience.as_deref().unwrap_or_default()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let mut last = Refused::Invalid("the issuer has no key that may have signed it".to_owned());
        for key in keys.candidates(header) {
            match jsonwebtoken::decode::<Value>(token, key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Checks what the library does not: that there is one issuer, and that the token was made before now.
    fn check_issued(&self, claims: &Value) -> Result<(), String> {
        if claims["iss"].as_str() != Some(self.issuer()) {
            return Err("its iss is not the issuer".to_owned());
        }
        match &claims["iat"] {
            Value::Null => Ok(()),
            iat => match seconds(iat) {
                Some(iat) if iat <= now().saturating_add(SKEW) => Ok(()),
                Some(_) => Err("its iat is in the future".to_owned()),
                None => Err("its iat is no time".to_owned()),
            },
        }
    }
}

/// A time in seconds since 1970, which may have a fraction (RFC 7519, section 2).
fn seconds(value: &Value) -> Option<u64> {
    let fraction = || Duration::try_from_secs_f64(value.as_f64()?).ok().map(|it| it.as_secs());
    value.as_u64().or_else(fraction)
}

/// The issuer that a token names. Nothing proves it.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    let short = (token.len() <= MAX_TOKEN).then_some(token)?;
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(short).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

/// In seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
