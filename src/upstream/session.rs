//! Sending requests to an upstream: retries, redirects, and the meaning of what comes back.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use super::api_check::{ApiCheck, names_api};
use super::authorize::Authorizer;
use super::credentials::CredentialSource;
use super::error::UpstreamError;
use super::http_client::HttpClients;
use super::redirect;
use super::request::{Hop, Request};
use super::status::{ErrorResponse, is_missing, redirected_error, refuses_head, status_error};
use crate::telemetry::{Metrics, UpstreamCall};

/// The longest `Retry-After` that is waited for on behalf of a client.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How many pages of an upstream's lists are read at once.
const PAGES: usize = 4;

/// Connections, credentials and tokens for one upstream.
#[derive(Debug)]
pub(super) struct Session {
    base: Url,
    pub(super) authorizer: Authorizer,
    api: ApiCheck,
    /// Permits for pages of lists: each is up to 4 MiB in memory until it is parsed.
    pub(super) pages: Semaphore,
}

impl Session {
    pub(super) fn new(base: Url, credentials: CredentialSource, metrics: Arc<Metrics>) -> Result<Self, UpstreamError> {
        let authorizer = Authorizer::new(HttpClients::new(&base)?, credentials, metrics);
        Ok(Self { base, authorizer, api: ApiCheck::default(), pages: Semaphore::new(PAGES) })
    }

    /// The URL of a path at the upstream.
    pub(super) fn url(&self, path: &str) -> Result<Url, UpstreamError> {
        let root = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{root}{path}")).map_err(|error| UpstreamError::Invalid(error.to_string()))
    }

    /// Sends a request, with retries. The response is a success, or a redirect if the request follows none, or, to a
    /// HEAD, a refusal that says nothing of what a GET would get. A HEAD that fails is not retried, because a GET
    /// follows it, which is.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, UpstreamError> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(2)
            .with_jitter();
        // Boxed: it is large, and would be part of the future of every request, warm ones too.
        let attempt = || Box::pin(self.follow(request));
        attempt
            .retry(backoff)
            .when(|error| {
                let is_limit = matches!(error, UpstreamError::TooManyRequests { .. });
                error.is_transient() && (is_limit || request.method != Method::HEAD)
            })
            // A longer Retry-After than a client waits for is passed on.
            .adjust(|error, pause| match error {
                UpstreamError::TooManyRequests { retry_after } => {
                    let after = retry_after.filter(|after| *after <= MAX_RETRY_AFTER)?;
                    pause.map(|pause| pause.max(after))
                }
                _ => pause,
            })
            .await
    }

    /// Sends a request, and follows redirects: to the upstream's storage, or to the registry that it fronts.
    async fn follow(&self, request: &Request) -> Result<Response, UpstreamError> {
        let mut hop = Hop::first(request);
        for _ in 0..=redirect::MAX_REDIRECTS {
            let response = self.authorizer.send(request, &hop).await?;
            match redirect::target(&response)? {
                Some(url) if !request.no_redirect => hop = hop.to(url),
                _ => return self.check_status(response, request, &hop).await,
            }
        }
        Err(UpstreamError::Invalid("it redirects without end".into()))
    }

    /// The response, if it answers the request.
    async fn check_status(&self, response: Response, request: &Request, hop: &Hop) -> Result<Response, UpstreamError> {
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
            Err(status_error(&response, &self.authorizer.credentials, "for content"))
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
        let Authorizer { clients, metrics, .. } = &self.authorizer;
        self.api.is_registry(&clients.no_redirect, &self.base, || metrics.upstream(UpstreamCall::Support)).await
    }
}
