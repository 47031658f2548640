//! Meeting the challenges of hosts: the upstream's with pounce's credentials, and anonymously those of hosts that it
//! redirects to.

use std::sync::Arc;
use std::time::Instant;

use reqwest::{Response, StatusCode};

use super::challenge::Challenge;
use super::challenge_cache::{ChallengeCache, scope, token_key};
use super::credentials::{CredentialSource, Credentials};
use super::error::UpstreamError;
use super::http_client::HttpClients;
use super::rate_left::RateLeft;
use super::request::{Hop, Request};
use super::request_span::RequestSpan;
use super::response::header;
use super::token::{Realm, Token, Tokens};
use crate::telemetry::{Health, Metrics, UpstreamCall, UpstreamMetrics, UpstreamServer};

/// Sends requests to one upstream with the credentials that it demands.
#[derive(Debug)]
pub(super) struct Authorizer {
    pub(super) clients: HttpClients,
    pub(super) credentials: CredentialSource,
    pub(super) challenges: ChallengeCache,
    tokens: Tokens,
    pub(super) metrics: Arc<Metrics>,
    /// Those of this upstream.
    pub(super) counts: Arc<UpstreamMetrics>,
    health: Arc<Health>,
    pub(super) rate: RateLeft,
}

/// What authorizes a request.
enum Authorization {
    None,
    Basic(Credentials),
    Bearer {
        token: Token,
        /// It was fetched for this very request.
        is_fresh: bool,
    },
}

impl Authorizer {
    pub(super) fn new(
        clients: HttpClients,
        credentials: CredentialSource,
        (metrics, counts, health): (Arc<Metrics>, Arc<UpstreamMetrics>, Arc<Health>),
    ) -> Self {
        let (challenges, tokens, rate) = (ChallengeCache::new(), Tokens::new(), RateLeft::default());
        Self { clients, credentials, challenges, tokens, metrics, counts, health, rate }
    }

    /// Sends a request to one host with the authorization that it demanded last, and once more if it demands another
    /// one, or if the first seems to have expired. A challenge is remembered only after it was met with success.
    pub(super) async fn send(&self, request: &Request, hop: &Hop) -> Result<Response, UpstreamError> {
        let last = self.challenges.get(hop).await;
        // A realm that does not answer any more may be out of date: without a token the host sends its present
        // challenge.
        let sent = self.authorization(request, hop, last.as_ref()).await.unwrap_or(Authorization::None);
        let response = self.send_once(request, hop, &sent).await?;
        let challenge = match response.status() {
            // Some proxies remove the challenge of an expired token.
            StatusCode::UNAUTHORIZED => Challenge::of(response.headers()).or_else(|| last.clone()),
            // ECR answers expired credentials with 403, public.ecr.aws with either of these.
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => last.clone(),
            _ => None,
        };
        let Some(challenge) = challenge else {
            if let Some(last) = &last
                && !matches!(sent, Authorization::None)
                && matches!(response.status().as_u16(), 200..=399)
            {
                self.challenges.allow(token_key(last, request, hop)).await;
            }
            return Ok(response);
        };
        let key = token_key(&challenge, request, hop);
        let is_unchanged = last.as_ref() == Some(&challenge);
        if !self.may_change(&sent, &challenge, is_unchanged, hop, &key).await {
            return Ok(response);
        }
        let authorization = self.authorization(request, hop, Some(&challenge)).await?;
        if matches!(authorization, Authorization::None) {
            return Ok(response);
        }
        let response = self.send_once(request, hop, &authorization).await?;
        match response.status().as_u16() {
            200..=399 => {
                self.challenges.insert(hop, challenge).await;
                self.challenges.allow(key).await;
            }
            400 | 401 | 403 => self.challenges.refuse(&key, hop).await,
            _ => {}
        }
        Ok(response)
    }

    async fn send_once(
        &self,
        request: &Request,
        hop: &Hop,
        authorization: &Authorization,
    ) -> Result<Response, UpstreamError> {
        let sent = self.clients.no_redirect.request(request.method.clone(), hop.url.clone());
        let sent = match authorization {
            Authorization::Basic(credentials) => credentials.attach(sent),
            Authorization::Bearer { token, .. } => sent.bearer_auth(token.reveal()),
            Authorization::None => sent,
        };
        if hop.is_home {
            self.metrics.upstream(request.call);
        }
        let server = if hop.is_home { UpstreamServer::Registry } else { UpstreamServer::Storage };
        let mut headers = request.headers.clone();
        let span = RequestSpan::begin(server, request, &hop.url, &mut headers);
        let began = Instant::now();
        let response = sent.headers(headers).send().await;
        span.end(&response);
        let (status, took) = (response.as_ref().ok().map(|response| response.status().as_u16()), began.elapsed());
        self.counts.responded(server, status, took);
        if hop.is_home {
            self.health.answered(status, took);
        }
        let response = response?;
        if hop.is_home {
            let said = |name| header(&response, name);
            let remaining = said("ratelimit-remaining");
            self.rate.said(remaining);
            self.counts.rate_limit(self.credentials.label(), remaining, said("ratelimit-limit"));
        }
        Ok(response)
    }

    /// A request was refused: whether another authorization may help. Tokens that may have been revoked are forgotten.
    async fn may_change(
        &self,
        sent: &Authorization,
        challenge: &Challenge,
        is_unchanged: bool,
        hop: &Hop,
        key: &str,
    ) -> bool {
        if is_unchanged && self.challenges.is_refused(key, hop) {
            return false;
        }
        match (sent, challenge) {
            // Sending the same credentials again changes nothing.
            (Authorization::Basic(refused), Challenge::Basic) => self.credentials.renew(refused).await,
            (Authorization::Bearer { is_fresh: true, .. }, _) if is_unchanged => {
                self.challenges.refuse(key, hop).await;
                false
            }
            (Authorization::Bearer { .. }, _) => {
                self.tokens.forget(key).await;
                true
            }
            (Authorization::None, _) | (Authorization::Basic(_), Challenge::Bearer { .. }) => true,
        }
    }

    /// The authorization that meets a challenge.
    async fn authorization(
        &self,
        request: &Request,
        hop: &Hop,
        challenge: Option<&Challenge>,
    ) -> Result<Authorization, UpstreamError> {
        match challenge {
            Some(Challenge::Basic) if hop.is_home => {
                Ok(self.credentials.get().await?.map_or(Authorization::None, Authorization::Basic))
            }
            Some(challenge @ Challenge::Bearer { .. }) => {
                let scope = scope(challenge, request, hop);
                let fetch = async {
                    if hop.is_home {
                        self.fetch_own_token(challenge, &scope, hop).await
                    } else {
                        self.fetch_token(challenge, &scope, hop, None).await
                    }
                };
                let (token, is_fresh) = self.tokens.get(&token_key(challenge, request, hop), fetch).await?;
                Ok(Authorization::Bearer { token, is_fresh })
            }
            _ => Ok(Authorization::None),
        }
    }

    /// A token from the upstream's realm, for pounce's credentials.
    async fn fetch_own_token(&self, challenge: &Challenge, scope: &str, hop: &Hop) -> Result<Token, UpstreamError> {
        let credentials = self.credentials.get().await?;
        let fetched = self.fetch_token(challenge, scope, hop, credentials.as_ref()).await;
        match (fetched, &credentials) {
            // The credentials of a helper may have expired.
            (Err(UpstreamError::Denied { .. }), Some(refused)) if self.credentials.renew(refused).await => {
                let fresh = self.credentials.get().await?;
                self.fetch_token(challenge, scope, hop, fresh.as_ref()).await
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
        let realm = Realm {
            clients: &self.clients,
            least_scheme: hop.url.scheme(),
            source: if hop.is_home { &self.credentials } else { &CredentialSource::Anonymous },
            counts: &self.counts,
        };
        realm.fetch(challenge, scope, credentials).await
    }
}
