//! Sending requests to an upstream: retries, redirects, and the meaning of what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use super::accounts::Accounts;
use super::api_check::{ApiCheck, names_api};
use super::authorize::Authorizer;
use super::credentials::CredentialSource;
use super::error::UpstreamError;
use super::http_client::HttpClients;
use super::redirect;
use super::request::{Hop, Request};
use super::status::{ErrorResponse, is_missing, redirected_error, refuses_head, status_error};
use crate::telemetry::{Health, Metrics, UpstreamCall};

/// The longest `Retry-After` that is waited for on behalf of a client.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(2);

/// A request that its caller gives up after so long counts as one without an answer: the caller's time was over, and it
/// did not just ask something else.
const SILENCE: Duration = Duration::from_secs(5);

/// How many pages of an upstream's lists are read at once.
const PAGES: usize = 4;

/// Connections, credentials and tokens for one upstream.
#[derive(Debug)]
pub(super) struct Session {
    /// The upstream in the log.
    pub(super) label: String,
    base: Url,
    pub(super) health: Arc<Health>,
    pub(super) accounts: Accounts,
    api: ApiCheck,
    /// Permits for pages of lists: each is up to 4 MiB in memory until it is parsed.
    pub(super) pages: Semaphore,
}

impl Session {
    pub(super) fn new(
        label: String,
        base: Url,
        (first, others): (CredentialSource, Vec<CredentialSource>),
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let (health, clients) = (Arc::<Health>::default(), HttpClients::new(&base)?);
        let upstream_metrics = metrics.of_upstream(&host(&base));
        let counted = || (Arc::clone(metrics), Arc::clone(&upstream_metrics), Arc::clone(&health));
        let authorizer = |credentials| Authorizer::new(clients.clone(), credentials, counted());
        let accounts = Accounts::new(authorizer(first), others.into_iter().map(authorizer).collect());
        let (api, pages) = (ApiCheck::default(), Semaphore::new(PAGES));
        Ok(Self { label, base, health, accounts, api, pages })
    }

    /// The URL of a path at the upstream.
    pub(super) fn url(&self, path: &str) -> Result<Url, UpstreamError> {
        let root = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{root}{path}")).map_err(|error| UpstreamError::Invalid(error.to_string()))
    }

    /// Sends a request, with retries. The response is a success, or a redirect if the request follows none, or, to a
    /// HEAD, a refusal that says nothing of what a GET would get. A HEAD that fails is not retried, because a GET
    /// follows it, which is; and while no request gets an answer, none is.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, UpstreamError> {
        // Boxed: it is large, and would be part of the future of every request, warm ones too.
        self.retry(request, || Box::pin(self.follow_by_any(request))).await
    }

    /// [`send`](Self::send), with one of the credentials.
    pub(super) async fn send_by(&self, account: &Authorizer, request: &Request) -> Result<Response, UpstreamError> {
        self.retry(request, || Box::pin(self.follow(account, request))).await
    }

    async fn retry<F>(&self, request: &Request, attempt: impl FnMut() -> F) -> Result<Response, UpstreamError>
    where
        F: Future<Output = Result<Response, UpstreamError>>,
    {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(2)
            .with_jitter();
        let (asking, mut attempts) = (Asking::begin(&self.health), 1);
        let sent = attempt
            .retry(backoff)
            .when(|error| {
                let is_limit = matches!(error, UpstreamError::TooManyRequests { .. });
                let is_repeated = is_limit || request.method != Method::HEAD;
                error.is_transient() && self.health.missed() && is_repeated
            })
            // A longer Retry-After than a client waits for is passed on.
            .adjust(|error, pause| match error {
                UpstreamError::TooManyRequests { retry_after } => {
                    let after = retry_after.filter(|after| *after <= MAX_RETRY_AFTER)?;
                    pause.map(|pause| pause.max(after))
                }
                _ => pause,
            })
            .notify(|error, pause| {
                attempts += 1;
                self.log_retry(request, error, (attempts, pause));
            })
            .await;
        asking.end(sent.as_ref().err());
        sent
    }

    /// Logs that a request is sent again: as a warning once a minute for its content and cause. Where a blob goes on in
    /// the middle, its fill warns, which knows more of it.
    fn log_retry(&self, request: &Request, error: &UpstreamError, (attempt, pause): (u32, Duration)) {
        let path = request.url.path();
        let (upstream, wait_ms) = (&self.label, millis(pause));
        let goes_on = request.headers.get(RANGE).is_some_and(|range| !range.as_bytes().starts_with(b"bytes=0-"));
        if !goes_on && self.warns_of_retry(path, error) {
            tracing::warn!(upstream, path, %error, attempt, wait_ms, "asking the upstream again");
        } else {
            tracing::debug!(upstream, path, %error, attempt, wait_ms, "asking the upstream again");
        }
    }

    /// Whether the log should warn of a repeated request for this content.
    pub(super) fn warns_of_retry(&self, content: &str, error: &UpstreamError) -> bool {
        self.health.is_due(format!("retry {content} {error}"))
    }

    /// [`follow`](Self::follow), with the credentials that have the most of their rate left; where these are limited or
    /// refused, with the next ones.
    async fn follow_by_any(&self, request: &Request) -> Result<Response, UpstreamError> {
        let mut accounts = self.accounts.by_rate().into_iter().peekable();
        while let Some(account) = accounts.next() {
            match self.follow(account, request).await {
                Err(UpstreamError::TooManyRequests { .. } | UpstreamError::Denied { .. })
                    if accounts.peek().is_some() => {}
                other => return other,
            }
        }
        Err(UpstreamError::Unavailable("there are no credentials for it".to_owned()))
    }

    /// Sends a request, and follows redirects: to the upstream's storage, or to the registry that it fronts.
    async fn follow(&self, account: &Authorizer, request: &Request) -> Result<Response, UpstreamError> {
        let mut hop = Hop::first(request);
        for _ in 0..=redirect::MAX_REDIRECTS {
            let response = account.send(request, &hop).await?;
            match redirect::target(&response)? {
                Some(url) if !request.no_redirect => hop = hop.to(url),
                _ => return self.check_status(account, response, request, &hop).await,
            }
        }
        Err(UpstreamError::Invalid("it redirects without end".into()))
    }

    /// The response, if it answers the request.
    async fn check_status(
        &self,
        account: &Authorizer,
        response: Response,
        request: &Request,
        hop: &Hop,
    ) -> Result<Response, UpstreamError> {
        let status = response.status();
        let is_answer = status.is_success()
            || (request.no_redirect && status.is_redirection())
            || (request.method == Method::HEAD && refuses_head(status));
        if is_answer {
            Ok(response)
        } else if !hop.is_home && status != StatusCode::TOO_MANY_REQUESTS {
            Err(redirected_error(response).await)
        } else if is_missing(status) {
            Err(self.missing_error(response, request).await)
        } else {
            let error = status_error(&response, &account.credentials, "for content");
            if let UpstreamError::TooManyRequests { retry_after } = &error {
                account.rate.is_used_up(*retry_after);
            }
            Err(error)
        }
    }

    /// The meaning of the upstream's own 404.
    async fn missing_error(&self, response: Response, request: &Request) -> UpstreamError {
        let names_api = names_api(&response);
        let body = ErrorResponse::read(response).await;
        // A page never comes from a registry, whatever a proxy adds to its headers.
        let may_be_registry = !body.is_page();
        let is_ping = request.call == UpstreamCall::Support;
        if body.is_oci() || (may_be_registry && (names_api || (!is_ping && self.is_registry().await))) {
            return UpstreamError::NotFound;
        }
        UpstreamError::Unrecognized(body.to_string())
    }

    async fn is_registry(&self) -> bool {
        let Authorizer { clients, metrics, .. } = self.accounts.first();
        self.api.is_registry(&clients.no_redirect, &self.base, || metrics.upstream(UpstreamCall::Support)).await
    }
}

/// The host of an upstream, with its port where it has one of its own.
pub(super) fn host(base: &Url) -> String {
    let port = base.port().map(|port| format!(":{port}"));
    format!("{}{}", base.host_str().unwrap_or_default(), port.unwrap_or_default())
}

/// A request on its way, whose end the health learns, also where its caller gives it up.
struct Asking<'a> {
    health: &'a Health,
    began: Instant,
    has_ended: bool,
}

impl<'a> Asking<'a> {
    fn begin(health: &'a Health) -> Self {
        Self { health, began: Instant::now(), has_ended: false }
    }

    fn end(mut self, error: Option<&UpstreamError>) {
        self.has_ended = true;
        match error.filter(|error| error.is_transient()) {
            Some(error) => self.health.fails(error.to_string()),
            None => self.health.works(),
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if !self.has_ended && took >= SILENCE {
            self.health.answered(None, took);
            self.health.fails(format!("it was silent for {} s", took.as_secs()));
        }
    }
}

/// In milliseconds, for the log.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
