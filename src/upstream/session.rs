//! Requests to an upstream: connections, further attempts, and redirects, host by host.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use tokio::sync::Semaphore;
use url::Url;

use super::answer::Greeted;
use super::authorize::{Credential, Demands};
use super::challenge::Challenge;
use super::credentials::Source;
use super::error::UpstreamError;
use super::redirect;
use super::token::Tokens;
use crate::config::is_local;
use crate::telemetry::{Metrics, UpstreamCall};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is waited for on behalf of a client.
const SHORT: Duration = Duration::from_secs(2);

/// Connections, credentials and tokens for one upstream.
#[derive(Debug)]
pub(super) struct Session {
    /// Follows no redirects.
    pub(super) http: reqwest::Client,
    /// Follows redirects: for token servers.
    pub(super) follows: reqwest::Client,
    base: Url,
    pub(super) credentials: Source,
    pub(super) demands: Demands,
    pub(super) tokens: Tokens,
    pub(super) greeted: Greeted,
    pub(super) metrics: std::sync::Arc<Metrics>,
    /// Pages of lists that may be read now: each is up to 4 MiB in memory until it is parsed.
    pub(super) pages: Semaphore,
}

/// How many pages of an upstream's lists are read at once.
const PAGES: usize = 4;

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

/// Where a request is on its way through redirects.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) url: Url,
    /// No redirect led to another origin yet. Only here is pounce more than anonymous.
    pub(super) is_home: bool,
}

/// A client for a host, and for where that leads. The environment's proxies are between, unless it is this machine.
pub(super) fn client_to(url: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    if url.host_str().is_some_and(is_local) { builder.no_proxy() } else { builder }
}

impl Session {
    pub(super) fn new(base: Url, credentials: Source, metrics: std::sync::Arc<Metrics>) -> Result<Self, UpstreamError> {
        // What is counted and hashed are the bytes themselves, and a proxy must not pack them.
        let identity = (ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let headers = HeaderMap::from_iter([identity]);
        let client = |redirects| {
            client_to(&base)
                .default_headers(headers.clone())
                .user_agent(concat!("pounce/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .redirect(redirects)
                .build()
        };
        Ok(Self {
            http: client(reqwest::redirect::Policy::none())?,
            follows: client(redirect::policy())?,
            base,
            credentials,
            demands: Demands::new(),
            tokens: Tokens::new(),
            greeted: Greeted::default(),
            metrics,
            pages: Semaphore::new(PAGES),
        })
    }

    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    /// What the upstream demanded last, if anything.
    pub(super) async fn demanded(&self) -> Option<Challenge> {
        self.demands.of_home().await
    }

    pub(super) const fn is_anonymous(&self) -> bool {
        matches!(self.credentials, Source::Nowhere)
    }

    /// Sends a request, again where that may help. The response is a success, or a redirect if that is an answer, or,
    /// to a HEAD, a refusal that says nothing of what a GET would get. A HEAD that fails is not sent again, because a
    /// GET follows it, which is.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Response, UpstreamError> {
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(2)
            .with_jitter();
        // Boxed: it is large, and would be part of the future of every request, warm ones too.
        let attempt = || Box::pin(self.follow(ask));
        attempt
            .retry(patience)
            .when(|error| {
                let is_limit = matches!(error, UpstreamError::TooManyRequests { .. });
                error.is_transient() && (is_limit || ask.method != Method::HEAD)
            })
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

    /// Sends a request, and follows the upstream to its storage, or to the registry that it fronts.
    async fn follow(&self, ask: &Ask) -> Result<Response, UpstreamError> {
        let mut hop = Hop { url: ask.url.clone(), is_home: true };
        for _ in 0..=redirect::MOST {
            let response = self.authorized(ask, &hop).await?;
            match redirect::target(&response)? {
                Some(url) if !ask.stays => hop = hop.to(url),
                _ => return self.judge(response, ask, &hop).await,
            }
        }
        Err(UpstreamError::Invalid("it redirects without end".into()))
    }

    pub(super) async fn once(&self, ask: &Ask, hop: &Hop, credential: &Credential) -> Result<Response, UpstreamError> {
        let request = self.http.request(ask.method.clone(), hop.url.clone()).headers(ask.headers.clone());
        let request = match credential {
            Credential::Basic(credentials) => credentials.attach(request),
            Credential::Bearer { token, .. } => request.bearer_auth(token.reveal()),
            Credential::Nothing => request,
        };
        if hop.is_home {
            self.metrics.upstream(ask.call);
        }
        Ok(request.send().await?)
    }
}

impl Hop {
    fn to(self, url: Url) -> Self {
        Self { is_home: self.is_home && url.origin() == self.url.origin(), url }
    }
}

/// Reads a whole body that must not be larger than `limit` bytes.
pub(super) async fn read_limited(mut response: Response, limit: usize) -> Result<Bytes, UpstreamError> {
    let too_large = || UpstreamError::Invalid(format!("it is larger than {limit} bytes"));
    let length = response.content_length().unwrap_or(0);
    if length > limit as u64 {
        return Err(too_large());
    }
    // A buffer that grows ends up to twice as large as what is in it. No more than the limit.
    let mut body = BytesMut::with_capacity(usize::try_from(length).unwrap_or(limit));
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
