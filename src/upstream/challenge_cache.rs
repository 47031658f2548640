//! The challenges that hosts sent last, and the refusals that no credentials change. They save requests that would be
//! refused.

use std::time::Duration;

use moka::future::Cache;
use tokio::sync::RwLock;
use url::Url;

use super::challenge::Challenge;
use super::request::{Hop, Request};

/// Of how many hosts that upstreams redirect to the challenges are kept, and for how long.
const MAX_HOSTS: u64 = 64;
const HOST_LIFE: Duration = Duration::from_hours(1);
/// How long a refusal of fresh credentials is final, for a resource, and for a scope in which nothing was allowed
/// since; and how many of them are kept. A forbidden repository must not cost a token, or a run of the credential
/// helper, for each request.
const REFUSAL_LIFE: Duration = Duration::from_secs(30);
const MAX_REFUSALS: u64 = 4096;
/// How long it is remembered that something was allowed in a scope.
const ALLOWED_LIFE: Duration = Duration::from_hours(1);

/// What is remembered of one upstream's challenges.
#[derive(Debug)]
pub(super) struct ChallengeCache {
    home: RwLock<Option<Challenge>>,
    /// Of hosts that the upstream redirects to, by origin.
    elsewhere: Cache<String, Challenge>,
    /// Final refusals: scopes, as keys of tokens, and with a path after it one resource.
    refused: Cache<String, ()>,
    /// Scopes in which something was allowed since the last final refusal, as keys of tokens.
    allowed: Cache<String, ()>,
}

impl ChallengeCache {
    pub(super) fn new() -> Self {
        let refused = Cache::builder().max_capacity(MAX_REFUSALS).time_to_live(REFUSAL_LIFE);
        let allowed = Cache::builder().max_capacity(MAX_REFUSALS).time_to_live(ALLOWED_LIFE);
        Self {
            home: RwLock::new(None),
            elsewhere: Cache::builder().max_capacity(MAX_HOSTS).time_to_live(HOST_LIFE).build(),
            refused: refused.build(),
            allowed: allowed.build(),
        }
    }

    /// Fresh credentials are refused. If something else was allowed in the scope, the refusal is about this resource
    /// only, and the next one may be that of a token that was revoked.
    pub(super) async fn refuse(&self, key: &str, hop: &Hop) {
        self.refused.insert(resource_key(key, hop), ()).await;
        if self.allowed.remove(key).await.is_none() {
            self.refused.insert(key.to_owned(), ()).await;
        }
    }

    pub(super) fn is_refused(&self, key: &str, hop: &Hop) -> bool {
        self.refused.contains_key(key) || self.refused.contains_key(&resource_key(key, hop))
    }

    pub(super) async fn allow(&self, key: String) {
        self.refused.invalidate(&key).await;
        self.allowed.insert(key, ()).await;
    }

    /// The upstream's own challenge.
    pub(super) async fn of_home(&self) -> Option<Challenge> {
        self.home.read().await.clone()
    }

    /// Whether clients that are redirected there have to get tokens first.
    pub(super) async fn is_challenging(&self, url: &Url) -> bool {
        self.elsewhere.get(&origin(url)).await.is_some()
    }

    pub(super) async fn get(&self, hop: &Hop) -> Option<Challenge> {
        if hop.is_home {
            return self.of_home().await;
        }
        // A URL of another form, a signed one perhaps, needs no token.
        repository_scope(&hop.url)?;
        self.elsewhere.get(&origin(&hop.url)).await
    }

    pub(super) async fn insert(&self, hop: &Hop, challenge: Challenge) {
        if hop.is_home {
            *self.home.write().await = Some(challenge);
        } else {
            self.elsewhere.insert(origin(&hop.url), challenge).await;
        }
    }
}

/// The scope to request a token for. A challenge that is reused names another repository's scope, so the request's own
/// is what counts.
pub(super) fn scope(challenge: &Challenge, request: &Request, hop: &Hop) -> String {
    let own = if hop.is_home { request.scope.clone() } else { repository_scope(&hop.url).unwrap_or_default() };
    match challenge {
        // A registry may spell the scope in its own way; for this very repository its spelling is taken.
        Challenge::Bearer { scope: Some(scope), .. } if scope.starts_with(own.trim_end_matches("pull")) => {
            scope.clone()
        }
        _ => own,
    }
}

/// The key of a token: the scope, for the upstream itself; the host and the scope, for others.
pub(super) fn token_key(challenge: &Challenge, request: &Request, hop: &Hop) -> String {
    let scope = scope(challenge, request, hop);
    if hop.is_home { scope } else { format!("{} {scope}", origin(&hop.url)) }
}

/// The key of one resource in a scope.
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
