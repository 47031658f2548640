//! Requests to an upstream, with whatever it demands before it answers them.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, redirect};
use tokio::sync::RwLock;
use url::Url;

use super::challenge::Challenge;
use super::credentials::{Credentials, Source};
use super::error::UpstreamError;
use super::token::{self, Token, Tokens};
use crate::telemetry::{Metrics, UpstreamCall};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is waited for on behalf of a client.
const SHORT: Duration = Duration::from_secs(2);
/// A registry's own redirect to its storage, and one or two of that storage's.
const MAX_REDIRECTS: usize = 5;

/// Connections, credentials and tokens for one upstream.
#[derive(Debug)]
pub(super) struct Session {
    http: reqwest::Client,
    /// Follows no redirects.
    stays: reqwest::Client,
    base: Url,
    credentials: Source,
    /// What it demanded last; knowing it saves a refused request for every further repository.
    demand: RwLock<Option<Challenge>>,
    tokens: Tokens,
    metrics: std::sync::Arc<Metrics>,
}

/// What goes along with a request.
enum Credential {
    Nothing,
    Basic(Credentials),
    Bearer(Token),
}

/// One request, in a form that can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) call: UpstreamCall,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// What a token must allow.
    pub(super) scope: String,
    /// A redirect is an answer too.
    pub(super) stays: bool,
}

impl Session {
    pub(super) fn new(
        base: Url,
        credentials: Source,
        metrics: std::sync::Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let client = |redirects| {
            reqwest::Client::builder()
                .user_agent(concat!("pounce/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .redirect(redirects)
                .build()
        };
        let http = client(redirect::Policy::custom(follow))?;
        let stays = client(redirect::Policy::none())?;
        let (demand, tokens) = (RwLock::new(None), Tokens::new());
        Ok(Self {
            http,
            stays,
            base,
            credentials,
            demand,
            tokens,
            metrics,
        })
    }

    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    /// What the upstream demanded last, if anything.
    pub(super) async fn demanded(&self) -> Option<Challenge> {
        self.demand.read().await.clone()
    }

    pub(super) const fn is_anonymous(&self) -> bool {
        matches!(self.credentials, Source::Nowhere)
    }

    /// Sends a request, again where that may help. The response is a success, or a redirect if that is
    /// an answer.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Response, UpstreamError> {
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(2)
            .with_jitter();
        // Boxed: it is large, and would be part of the future of every request, warm ones too.
        let attempt = || Box::pin(self.authorized(ask));
        attempt
            .retry(patience)
            .when(UpstreamError::is_transient)
            // Who asks for more patience than a client has is not asked again.
            .adjust(|error, pause| match error {
                UpstreamError::TooManyRequests { retry_after } => {
                    let after = retry_after.filter(|after| *after <= SHORT)?;
                    pause.map(|pause| pause.max(after))
                }
                _ => pause,
            })
            .await
    }

    /// Sends a request with the credentials that the upstream demanded last, and once more if it
    /// demands others. A demand is remembered only once it was met with success.
    async fn authorized(&self, ask: &Ask) -> Result<Response, UpstreamError> {
        let known = self.demand.read().await.clone();
        // A realm that cannot be asked any more may be out of date: without a token the upstream says
        // what it demands today.
        let credential = self
            .credential(ask, known.as_ref())
            .await
            .unwrap_or(Credential::Nothing);
        let response = self.once(ask, &credential).await?;
        if response.status() != StatusCode::UNAUTHORIZED || elsewhere(&response, ask) {
            return self.judge(response, ask);
        }
        let mut demands = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let Some(demand) = demands.find_map(|value| Challenge::parse(value.to_str().ok()?)) else {
            return self.judge(response, ask);
        };
        match credential {
            // It was sent and refused; sending it again changes nothing.
            Credential::Basic(refused)
                if demand == Challenge::Basic && !self.credentials.renew(&refused).await =>
            {
                return self.judge(response, ask);
            }
            Credential::Bearer(_) => self.tokens.forget(&scope(&demand, ask)).await,
            _ => {}
        }
        let credential = self.credential(ask, Some(&demand)).await?;
        let response = self.judge(self.once(ask, &credential).await?, ask)?;
        *self.demand.write().await = Some(demand);
        Ok(response)
    }

    /// What meets a demand.
    async fn credential(
        &self,
        ask: &Ask,
        demand: Option<&Challenge>,
    ) -> Result<Credential, UpstreamError> {
        match demand {
            Some(Challenge::Basic) => Ok(match self.credentials.get().await? {
                Some(credentials) => Credential::Basic(credentials),
                None => Credential::Nothing,
            }),
            Some(challenge @ Challenge::Bearer { .. }) => {
                let scope = scope(challenge, ask);
                let fetch = async {
                    let credentials = self.credentials.get().await?;
                    let fetched = self.fetch_token(challenge, &scope, credentials.as_ref());
                    match (fetched.await, &credentials) {
                        // Those of a helper may have been good for some hours only.
                        (Err(UpstreamError::Denied { .. }), Some(refused))
                            if self.credentials.renew(refused).await =>
                        {
                            let fresh = self.credentials.get().await?;
                            self.fetch_token(challenge, &scope, fresh.as_ref()).await
                        }
                        (fetched, _) => fetched,
                    }
                };
                self.tokens.get(&scope, fetch).await.map(Credential::Bearer)
            }
            None => Ok(Credential::Nothing),
        }
    }

    async fn fetch_token(
        &self,
        challenge: &Challenge,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Token, UpstreamError> {
        self.metrics.upstream(UpstreamCall::Token);
        let realm = token::Realm {
            follows: &self.http,
            stays: &self.stays,
            least_scheme: self.base.scheme(),
            source: &self.credentials,
        };
        realm.fetch(challenge, scope, credentials).await
    }

    async fn once(&self, ask: &Ask, credential: &Credential) -> Result<Response, UpstreamError> {
        let client = if ask.stays { &self.stays } else { &self.http };
        let request = client
            .request(ask.method.clone(), ask.url.clone())
            .headers(ask.headers.clone());
        let request = match credential {
            Credential::Basic(credentials) => credentials.attach(request),
            Credential::Bearer(token) => request.bearer_auth(token.reveal()),
            Credential::Nothing => request,
        };
        self.metrics.upstream(ask.call);
        Ok(request.send().await?)
    }

    fn judge(&self, response: Response, ask: &Ask) -> Result<Response, UpstreamError> {
        let is_answer = response.status().is_success();
        if is_answer || (ask.stays && response.status().is_redirection()) {
            Ok(response)
        } else if elsewhere(&response, ask) && response.status() != StatusCode::TOO_MANY_REQUESTS {
            // What a storage host says is not the registry's word on what there is, or who may have it.
            let status = response.status();
            Err(UpstreamError::Unavailable(format!(
                "its storage answered {status}"
            )))
        } else {
            Err(describe_status(&response, &self.credentials, "for content"))
        }
    }
}

/// The response came from another host than the upstream, by way of a redirect.
fn elsewhere(response: &Response, ask: &Ask) -> bool {
    response.url().origin() != ask.url.origin()
}

/// The scope to ask a token for. A challenge that was met before names another repository's, so the
/// request's own is what counts.
fn scope(challenge: &Challenge, ask: &Ask) -> String {
    match challenge {
        // The scope in a challenge may be spelled in the registry's own way; for this very
        // repository it is taken as it stands.
        Challenge::Bearer {
            scope: Some(scope), ..
        } if scope.starts_with(ask.scope.trim_end_matches("pull")) => scope.clone(),
        _ => ask.scope.clone(),
    }
}

/// What a status other than success means.
pub(super) fn describe_status(response: &Response, source: &Source, what: &str) -> UpstreamError {
    let status = response.status();
    match status.as_u16() {
        404 | 410 => UpstreamError::NotFound,
        401 | 403 => {
            let described = source.describe();
            UpstreamError::Denied {
                anonymous: described.is_none(),
                credential: described.unwrap_or_else(|| "anonymous access".to_owned()),
                cause: format!("{status} {what}"),
            }
        }
        429 => UpstreamError::TooManyRequests {
            retry_after: retry_after(response.headers()),
        },
        // A plain request to a TLS port, say: nothing that another attempt would change.
        400 | 416 => UpstreamError::Invalid(format!("it answered {status} {what}")),
        _ => UpstreamError::Unavailable(format!("it answered {status} {what}")),
    }
}

/// `Retry-After` in either form (RFC 9110, section 10.2.3); at most an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(std::time::SystemTime::now())
            .ok()?,
    };
    Some(after.min(Duration::from_hours(1)))
}

/// Follows a registry to its storage. The client drops credentials on the way to another host; here
/// it is made sure that TLS is not dropped either.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt
        .previous()
        .last()
        .is_some_and(|from| from.scheme() == "https")
        && attempt.url().scheme() != "https";
    if downgrade {
        attempt.error("a redirect from https to http")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

/// Reads a whole body that must not be larger than `limit` bytes.
pub(super) async fn read_limited(
    mut response: Response,
    limit: usize,
) -> Result<Bytes, UpstreamError> {
    let too_large = || UpstreamError::Invalid(format!("it is larger than {limit} bytes"));
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
