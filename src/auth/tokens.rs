//! Tokens of a token server: JWTs with the client's rights
//! (<https://distribution.github.io/distribution/spec/auth/jwt/>).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::credentials::CredentialsError;
use super::error::AuthError;
use super::token_keys::TokenKeys;
use crate::config::{HostNames, SigningAlgorithm, Token};
use crate::oci::{Action, RepositoryName};
use crate::reload::Reloaded;

/// The allowed difference of pounce's and the server's clock, in seconds.
const SKEW: u64 = 60;
/// The size of the cache of verified tokens, in bytes of their rights.
const TOKEN_BYTES: u64 = 16 << 20;
/// The lifetime of its entries: keys that are removed are trusted for so long.
const TOKEN_LIFE: Duration = Duration::from_mins(1);
/// The most rights in one token.
const MAX_ACCESS: usize = 1_000;

/// Verifies tokens.
pub(super) struct TokenVerifier {
    keys: Reloaded<TokenKeys>,
    algorithms: Vec<Algorithm>,
    issuer: String,
    service: String,
    hosts: HostNames,
    verified: Cache<[u8; 32], Arc<Grants>>,
}

/// The user and the rights of a token.
#[derive(Debug)]
pub(super) struct Grants {
    pub(super) user: Option<Arc<str>>,
    repositories: HashMap<String, Vec<String>>,
    catalog: bool,
    /// In seconds since 1970.
    expires: u64,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Option<String>,
    exp: u64,
    #[serde(default)]
    access: Option<Vec<Access>>,
}

#[derive(Deserialize)]
struct Access {
    r#type: String,
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
}

impl Grants {
    pub(super) fn allow(&self, name: &RepositoryName, action: Action) -> bool {
        let mut actions = self.repositories.get(name.as_str()).into_iter().flatten();
        actions.any(|granted| granted == action.as_str() || granted == "*")
    }

    /// The rights of scopes with a blank between each two, `repository:<name>:<action>,<action>` or
    /// `registry:catalog:*`.
    pub(super) fn of_scopes(user: Arc<str>, scopes: &str, expires: u64) -> Self {
        let mut grants = Self { user: Some(user), repositories: HashMap::new(), catalog: false, expires };
        for scope in scopes.split(' ') {
            let parts = scope.split_once(':').and_then(|(kind, rest)| Some((kind, rest.rsplit_once(':')?)));
            match parts {
                Some(("repository", (name, actions))) => {
                    let actions = actions.split(',').map(str::to_owned);
                    grants.repositories.entry(name.to_owned()).or_default().extend(actions);
                }
                Some(("registry", ("catalog", "*"))) => grants.catalog = true,
                _ => {}
            }
        }
        grants
    }

    /// The approximate size in bytes.
    fn weight(&self) -> u32 {
        let actions = |actions: &Vec<String>| actions.iter().map(|it| it.len() + 24).sum::<usize>();
        let rights = self.repositories.iter().map(|(name, granted)| 100 + name.len() + actions(granted));
        u32::try_from(200 + rights.sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(super) const fn allow_catalog(&self) -> bool {
        self.catalog
    }

    /// `hosts`: see [`Access::open`](super::Access::open).
    fn new(claims: Claims, hosts: &HostNames) -> Self {
        let mut grants = Self {
            user: claims.sub.filter(|sub| !sub.is_empty()).map(Arc::from),
            repositories: HashMap::new(),
            catalog: false,
            expires: claims.exp,
        };
        for Access { r#type, name, actions } in claims.access.into_iter().flatten().take(MAX_ACCESS) {
            let actions = actions.unwrap_or_default();
            match (&r#type[..], &name[..]) {
                ("repository", _) => {
                    let name = hosts.resolve(&name).unwrap_or(&name).to_owned();
                    grants.repositories.entry(name).or_default().extend(actions);
                }
                ("registry", "catalog") => {
                    grants.catalog |= actions.iter().any(|action| action == "*");
                }
                _ => {}
            }
        }
        grants
    }
}

impl TokenVerifier {
    /// # Errors
    /// The keys cannot be read.
    pub(super) fn open(config: &Token, hosts: &HostNames) -> Result<Self, AuthError> {
        let (bundle, jwks) = (config.rootcertbundle.clone(), config.jwks.clone());
        let files = bundle.iter().chain(&jwks).cloned().collect();
        let read = move || TokenKeys::read(bundle.as_deref(), jwks.as_deref());
        let accepted = match &config.signingalgorithms[..] {
            [] => &SigningAlgorithm::ALL[..],
            some => some,
        };
        Ok(Self {
            keys: Reloaded::of("auth.token.rootcertbundle or jwks", files, read)?,
            algorithms: accepted.iter().filter_map(|it| it.as_str().parse().ok()).collect(),
            issuer: config.issuer.clone().unwrap_or_default(),
            service: config.service.clone().unwrap_or_default(),
            hosts: hosts.clone(),
            verified: Cache::builder()
                .max_capacity(TOKEN_BYTES)
                .weigher(|_, grants: &Arc<Grants>| grants.weight())
                .time_to_live(TOKEN_LIFE)
                .build(),
        })
    }

    /// The rights of a token.
    pub(super) fn verify(&self, token: &str) -> Result<Arc<Grants>, CredentialsError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(grants) = self.verified.get(&digest) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            return if grants.expires.saturating_add(SKEW) > now { Ok(grants) } else { Err(CredentialsError::Invalid) };
        }
        let claims = self.claims(token).map_err(|error| {
            tracing::info!(%error, "auth: a token was refused");
            CredentialsError::Invalid
        })?;
        let grants = Arc::new(Grants::new(claims, &self.hosts));
        self.verified.insert(digest, Arc::clone(&grants));
        Ok(grants)
    }

    /// The claims of a token that a trusted key signed for pounce, and that is valid now. Only keys of the algorithm's
    /// family are tried, and none is a secret, so that a public key cannot be misused as one (RFC 8725, section 2.1).
    fn claims(&self, token: &str) -> Result<Claims, jsonwebtoken::errors::Error> {
        let header = jsonwebtoken::decode_header(token)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        // Critical extensions, of which pounce knows none (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(ErrorKind::InvalidToken.into());
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = SKEW;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.service]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let keys = self.keys.get();
        let mut last = ErrorKind::InvalidSignature.into();
        for key in keys.candidates(&header) {
            match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("issuer", &self.issuer)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configurable_algorithm_is_one_of_the_librarys() {
        for algorithm in SigningAlgorithm::ALL {
            assert!(algorithm.as_str().parse::<Algorithm>().is_ok(), "{algorithm:?}");
        }
    }
}
