//! Bearer tokens (distribution's token specification): one for each scope, fetched once for all concurrent requests,
//! and kept until shortly before it expires.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::challenge::Challenge;
use super::credentials::{CredentialSource, Credentials};
use super::error::UpstreamError;
use super::http_client::HttpClients;
use super::request_span::RequestSpan;
use super::response::read_limited;
use super::status::{denied, status_error};
use crate::config::Secret;
use crate::telemetry::{UpstreamMetrics, UpstreamServer};

/// How many tokens are kept; one is a few KB.
const MAX_TOKENS: u64 = 4096;
/// The life of a token without `expires_in`, by the specification.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// The largest response of a token server that is read, in bytes.
const MAX_RESPONSE: usize = 256 << 10;

/// The tokens for one upstream.
#[derive(Debug)]
pub(super) struct Tokens {
    cache: Cache<String, Token>,
}

/// A token, and how long it is used.
#[derive(Clone, Debug)]
pub(super) struct Token {
    value: Arc<Secret>,
    life: Duration,
}

/// Each token leaves the cache at the end of its own life.
struct ByToken;

impl Expiry<String, Token> for ByToken {
    fn expire_after_create(&self, _: &String, token: &Token, _: Instant) -> Option<Duration> {
        Some(token.life)
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<serde_json::Value>,
}

impl TokenResponse {
    /// `token`, or, from servers that speak OAuth 2 only, `access_token`, without white space around it; some send
    /// both, one of them empty.
    fn take_token(&mut self) -> Option<Secret> {
        let both = [self.token.take(), self.access_token.take()];
        let trimmed = both.into_iter().flatten().map(|token| token.reveal().trim().to_owned());
        trimmed.map(Secret::from).find(|token| !token.reveal().is_empty())
    }

    /// In whole seconds, however they are written.
    fn life(&self) -> Option<Duration> {
        let seconds = match self.expires_in.as_ref()? {
            serde_json::Value::String(text) => text.trim().parse().ok()?,
            value => value.as_f64()?,
        };
        Duration::try_from_secs_f64(seconds.trunc()).ok().filter(|life| !life.is_zero())
    }
}

impl Token {
    pub(super) fn reveal(&self) -> &str {
        self.value.reveal()
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { cache: Cache::builder().max_capacity(MAX_TOKENS).expire_after(ByToken).build() }
    }

    /// The token that is kept by `key`, and whether it had to be fetched first.
    pub(super) async fn get<F>(&self, key: &str, fetch: F) -> Result<(Token, bool), UpstreamError>
    where
        F: Future<Output = Result<Token, UpstreamError>>,
    {
        let entry = self.cache.entry_by_ref(key).or_try_insert_with(fetch).await;
        let entry = entry.map_err(|error| (*error).clone())?;
        let is_fresh = entry.is_fresh();
        Ok((entry.into_value(), is_fresh))
    }

    /// Forgets a token that was refused before its time.
    pub(super) async fn forget(&self, key: &str) {
        self.cache.invalidate(key).await;
    }
}

/// A token server, as a challenge names it.
pub(super) struct Realm<'a> {
    pub(super) clients: &'a HttpClients,
    /// The scheme of the host that demands a token: for one behind TLS, no token is fetched in the clear.
    pub(super) least_scheme: &'a str,
    /// Where the credentials come from.
    pub(super) source: &'a CredentialSource,
    /// Counts the request.
    pub(super) counts: &'a UpstreamMetrics,
}

impl Realm<'_> {
    /// Asks for a token. Credentials go to the realm and nowhere else.
    pub(super) async fn fetch(
        &self,
        challenge: &Challenge,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Token, UpstreamError> {
        let Challenge::Bearer { realm, service, .. } = challenge else {
            return Err(UpstreamError::Invalid("it demands no token".into()));
        };
        let mut url = Url::parse(realm).map_err(|_| UpstreamError::Invalid("its token realm is not a URL".into()))?;
        if url.scheme() != "https" && !(url.scheme() == "http" && self.least_scheme == "http") {
            return Err(UpstreamError::Invalid(format!("its token realm is reached by {}", url.scheme())));
        }
        let mut parameters = Vec::new();
        if !scope.is_empty() {
            parameters.push(("scope", scope));
        }
        parameters.extend(service.as_deref().map(|service| ("service", service)));
        let is_refresh = credentials.is_some_and(Credentials::is_identity_token);
        let span = RequestSpan::for_token(if is_refresh { &Method::POST } else { &Method::GET }, &url);
        let request = match credentials {
            // distribution's "Token Authentication via OAuth2"
            Some(identity) if is_refresh => {
                parameters.push(("grant_type", "refresh_token"));
                parameters.push(("client_id", "pounce"));
                parameters.push(("refresh_token", identity.password.reveal()));
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
                // A redirect would forward the form, wherever it leads.
                self.clients.no_redirect.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            other => {
                url.query_pairs_mut().extend_pairs(parameters);
                let request = self.clients.following.get(url);
                match other {
                    Some(credentials) => credentials.attach(request),
                    None => request,
                }
            }
        };
        let request = request.timeout(Duration::from_secs(20));
        let began = Instant::now();
        let response = request.send().await;
        span.end(&response);
        let status = response.as_ref().ok().map(|response| response.status().as_u16());
        self.counts.responded(UpstreamServer::Token, status, began.elapsed());
        let response = response?;
        let status = response.status();
        if !status.is_success() {
            let refused = status_error(&response, self.source, "for a token");
            return Err(match (status.as_u16(), refused) {
                (404 | 410, _) => UpstreamError::Unavailable(format!("its token realm answered {status}")),
                // RFC 6749, section 5.2: `invalid_grant`, for a refresh token that expired.
                (400, _) if credentials.is_some() => denied(self.source, format!("{status} for a token")),
                (_, refused) => refused,
            });
        }
        let bytes = read_limited(response, MAX_RESPONSE).await?;
        let mut answer: TokenResponse = serde_json::from_slice(&bytes)
            .map_err(|_| UpstreamError::Invalid("its token server's answer is not the JSON of a token".into()))?;
        let value = answer
            .take_token()
            .ok_or_else(|| UpstreamError::Invalid("its token server's answer has no token".into()))?;
        if HeaderValue::from_str(value.reveal()).is_err() {
            let message = "its token server's answer has a token that no header can carry";
            return Err(UpstreamError::Invalid(message.into()));
        }
        let life = answer.life().unwrap_or(DEFAULT_LIFE);
        // A tenth of its life, at most half a minute, is a margin for the request and for clocks.
        let margin = (life / 10).min(Duration::from_secs(30));
        Ok(Token { value: Arc::new(value), life: life.saturating_sub(margin).min(Duration::from_hours(24)) })
    }
}
