//! Meeting what a host demands before it answers: the upstream with pounce's credentials, and hosts that it redirects
//! to anonymously.

use std::time::Duration;

use moka::future::Cache;
use reqwest::{Response, StatusCode};
use tokio::sync::RwLock;
use url::Url;

use super::challenge::Challenge;
use super::credentials::{Credentials, Source};
use super::error::UpstreamError;
use super::session::{Ask, Hop, Session};
use super::token::{self, Token};
use crate::telemetry::UpstreamCall;

/// Of how many hosts that upstreams redirect to the demands are known, and for how long.
const MAX_HOSTS: u64 = 64;
const HOST_LIFE: Duration = Duration::from_hours(1);
/// How long a refusal that fresh credentials did not change is the last word on what was asked for, and on a scope in
/// which nothing was allowed since; and of how many of them: a forbidden repository must not cost a token, or a run of
/// the credential helper, a request.
const BELIEVED: Duration = Duration::from_secs(30);
const MAX_BELIEVED: u64 = 4096;
/// How long a scope in which something was allowed is known.
const ALLOWED: Duration = Duration::from_hours(1);

/// What hosts demanded. Knowing it saves a refused request for every further repository.
#[derive(Debug)]
pub(super) struct Demands {
    home: RwLock<Option<Challenge>>,
    /// Of hosts that the upstream redirects to, by origin.
    elsewhere: Cache<String, Challenge>,
    /// What is refused to fresh credentials: scopes, as keys of tokens, and with a path behind it one resource.
    believed: Cache<String, ()>,
    /// Scopes in which something was allowed since the last refusal that was believed, as keys of tokens.
    allowed: Cache<String, ()>,
}

/// What goes along with a request.
pub(super) enum Credential {
    Nothing,
    Basic(Credentials),
    Bearer {
        token: Token,
        /// It was fetched for this very request.
        is_fresh: bool,
    },
}

impl Demands {
    pub(super) fn new() -> Self {
        let timed = |most, life| Cache::builder().max_capacity(most).time_to_live(life);
        Self {
            home: RwLock::new(None),
            elsewhere: timed(MAX_HOSTS, HOST_LIFE).build(),
            believed: Cache::builder().max_capacity(MAX_BELIEVED).time_to_live(BELIEVED).build(),
            allowed: Cache::builder().max_capacity(MAX_BELIEVED).time_to_live(ALLOWED).build(),
        }
    }

    /// Fresh credentials are refused. Where something else was allowed, that is one resource's matter, and the next
    /// refusal may be that of a token which has died.
    async fn believe(&self, key: &str, hop: &Hop) {
        self.believed.insert(resource_key(key, hop), ()).await;
        if self.allowed.remove(key).await.is_none() {
            self.believed.insert(key.to_owned(), ()).await;
        }
    }

    fn are_believed(&self, key: &str, hop: &Hop) -> bool {
        self.believed.contains_key(key) || self.believed.contains_key(&resource_key(key, hop))
    }

    async fn allow(&self, key: String) {
        self.believed.invalidate(&key).await;
        self.allowed.insert(key, ()).await;
    }

    pub(super) async fn of_home(&self) -> Option<Challenge> {
        self.home.read().await.clone()
    }

    /// Whether clients that are redirected there have to get tokens first.
    pub(super) async fn is_known_elsewhere(&self, url: &Url) -> bool {
        self.elsewhere.get(&origin(url)).await.is_some()
    }

    async fn known(&self, hop: &Hop) -> Option<Challenge> {
        if hop.is_home {
            return self.of_home().await;
        }
        // What is no repository's there, a signed URL perhaps, needs no token.
        repository_scope(&hop.url)?;
        self.elsewhere.get(&origin(&hop.url)).await
    }

    async fn met(&self, hop: &Hop, demand: Challenge) {
        if hop.is_home {
            *self.home.write().await = Some(demand);
        } else {
            self.elsewhere.insert(origin(&hop.url), demand).await;
        }
    }
}

impl Session {
    /// Sends a request to one host with what it demanded last, and once more if it demands something else, or if what
    /// was sent seems to have expired. A demand is remembered only once it was met with success.
    pub(super) async fn authorized(&self, ask: &Ask, hop: &Hop) -> Result<Response, UpstreamError> {
        let known = self.demands.known(hop).await;
        // A realm that cannot be asked any more may be out of date: without a token the host says what it demands
        // today.
        let sent = self.credential(ask, hop, known.as_ref()).await.unwrap_or(Credential::Nothing);
        let response = self.once(ask, hop, &sent).await?;
        let demand = match response.status() {
            // Some proxies take the challenge of an expired token away.
            StatusCode::UNAUTHORIZED => Challenge::of(response.headers()).or_else(|| known.clone()),
            // ECR answers expired credentials with 403, public.ecr.aws with either of these.
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => known.clone(),
            _ => None,
        };
        let Some(demand) = demand else {
            if let Some(known) = &known
                && !matches!(sent, Credential::Nothing)
                && matches!(response.status().as_u16(), 200..=399)
            {
                self.demands.allow(token_key(known, ask, hop)).await;
            }
            return Ok(response);
        };
        let key = token_key(&demand, ask, hop);
        let is_known = known.as_ref() == Some(&demand);
        if !self.may_change(&sent, &demand, is_known, hop, &key).await {
            return Ok(response);
        }
        let credential = self.credential(ask, hop, Some(&demand)).await?;
        if matches!(credential, Credential::Nothing) {
            return Ok(response);
        }
        let response = self.once(ask, hop, &credential).await?;
        match response.status().as_u16() {
            200..=399 => {
                self.demands.met(hop, demand).await;
                self.demands.allow(key).await;
            }
            400 | 401 | 403 => self.demands.believe(&key, hop).await,
            _ => {}
        }
        Ok(response)
    }

    /// A request was refused: whether other credentials than those that were sent may help. Tokens that may have died
    /// are forgotten.
    async fn may_change(&self, sent: &Credential, demand: &Challenge, is_known: bool, hop: &Hop, key: &str) -> bool {
        if is_known && self.demands.are_believed(key, hop) {
            return false;
        }
        match (sent, demand) {
            // It was sent and refused; sending it again changes nothing.
            (Credential::Basic(refused), Challenge::Basic) => self.credentials.renew(refused).await,
            (Credential::Bearer { is_fresh: true, .. }, _) if is_known => {
                self.demands.believe(key, hop).await;
                false
            }
            (Credential::Bearer { .. }, _) => {
                self.tokens.forget(key).await;
                true
            }
            (Credential::Nothing, _) | (Credential::Basic(_), Challenge::Bearer { .. }) => true,
        }
    }

    /// What meets a demand.
    async fn credential(&self, ask: &Ask, hop: &Hop, demand: Option<&Challenge>) -> Result<Credential, UpstreamError> {
        match demand {
            Some(Challenge::Basic) if hop.is_home => Ok(match self.credentials.get().await? {
                Some(credentials) => Credential::Basic(credentials),
                None => Credential::Nothing,
            }),
            Some(challenge @ Challenge::Bearer { .. }) => {
                let scope = scope(challenge, ask, hop);
                let fetch = async {
                    if hop.is_home {
                        self.fetch_own_token(challenge, &scope, hop).await
                    } else {
                        self.fetch_token(challenge, &scope, hop, None).await
                    }
                };
                let key = token_key(challenge, ask, hop);
                let (token, is_fresh) = self.tokens.get(&key, fetch).await?;
                Ok(Credential::Bearer { token, is_fresh })
            }
            _ => Ok(Credential::Nothing),
        }
    }

    /// A token from the upstream's realm, for pounce's credentials.
    async fn fetch_own_token(&self, challenge: &Challenge, scope: &str, hop: &Hop) -> Result<Token, UpstreamError> {
        let credentials = self.credentials.get().await?;
        let fetched = self.fetch_token(challenge, scope, hop, credentials.as_ref());
        match (fetched.await, &credentials) {
            // Those of a helper may have been good for some hours only.
            (Err(UpstreamError::Denied { .. }), Some(refused)) if self.credentials.renew(refused).await => {
                let fresh = self.credentials.get().await?;
                let fetched = self.fetch_token(challenge, scope, hop, fresh.as_ref());
                fetched.await
            }
            (fetched, _) => fetched,
        }
    }

    async fn fetch_token(
        &self,
        challenge: &Challenge,
        scope: &str,
        hop: &Hop,
        credentials: Option<&Credentials>,
    ) -> Result<Token, UpstreamError> {
        self.metrics.upstream(UpstreamCall::Token);
        let nowhere = Source::Nowhere;
        let realm = token::Realm {
            follows: &self.follows,
            stays: &self.http,
            least_scheme: hop.url.scheme(),
            source: if hop.is_home { &self.credentials } else { &nowhere },
        };
        realm.fetch(challenge, scope, credentials).await
    }
}

/// The scope to ask a token for. A challenge that was met before names another repository's, so the request's own is
/// what counts.
fn scope(challenge: &Challenge, ask: &Ask, hop: &Hop) -> String {
    let own = if hop.is_home { ask.scope.clone() } else { repository_scope(&hop.url).unwrap_or_default() };
    match challenge {
        // The scope in a challenge may be spelled in the registry's own way; for this very repository it is taken as it
        // stands.
        Challenge::Bearer { scope: Some(scope), .. } if scope.starts_with(own.trim_end_matches("pull")) => {
            scope.clone()
        }
        _ => own,
    }
}

/// What a token is kept by: the upstream's own by scope, others by their host, too.
fn token_key(challenge: &Challenge, ask: &Ask, hop: &Hop) -> String {
    let scope = scope(challenge, ask, hop);
    if hop.is_home { scope } else { format!("{} {scope}", origin(&hop.url)) }
}

/// One resource of what a token is for.
fn resource_key(key: &str, hop: &Hop) -> String {
    format!("{key} {}", hop.url.path())
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The scope of a URL that looks like a registry's: `/v2/<name>/manifests/<reference>`.
fn repository_scope(url: &Url) -> Option<String> {
    let (_, path) = url.path().split_once("/v2/")?;
    let mut parts = path.rsplitn(3, '/').skip(1);
    let kind = parts.next()?;
    let name = parts.next()?;
    matches!(kind, "manifests" | "blobs" | "tags" | "referrers").then(|| format!("repository:{name}:pull"))
}
