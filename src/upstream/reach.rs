//! Asking a registry as a node asks it: whether it answers, and how it fails. Endpoints of events and issuers of tokens
//! are asked in the same way.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder};
use url::Url;

use super::api_check::names_api;
use super::error::UpstreamError;
use super::http_client::client_to;
use super::response::{header, read_limited};
use crate::telemetry::causes;

/// The most that is read of an answer, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The most that is read of an answer that nothing looks at, so that its connection can be used again, in bytes.
const MAX_UNSEEN: usize = 64 << 10;

/// A client of one server, with a time limit for each request.
#[derive(Clone, Debug)]
pub struct Reach {
    client: Client,
}

/// The server's answer. Redirects are not followed.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Where it redirects to.
    pub location: Option<String>,
    /// Whether it has the header of a registry (`Docker-Distribution-Api-Version`).
    pub is_registry: bool,
    /// Its body, within the bound that the caller named, or else 1 MiB.
    pub bytes: Bytes,
}

/// Why there is no answer. The texts are the causes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReachError {
    /// Nothing came in time.
    #[error("it does not answer in time")]
    Silent,
    /// The certificate is not valid for this client.
    #[error("{0}")]
    Certificate(String),
    /// The connection, or the conversation over it, failed.
    #[error("{0}")]
    Failed(String),
}

impl Reach {
    /// A client of the server at a URL. It trusts the system's CAs, and those in `ca`, which is PEM.
    ///
    /// # Errors
    /// `ca` has no certificate, or none that can be used.
    pub fn new(url: &Url, ca: Option<&str>, timeout: Duration) -> Result<Self, String> {
        let mut builder = client_to(url).timeout(timeout).connect_timeout(timeout).redirect(Policy::none());
        if let Some(pem) = ca {
            let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| causes(&error))?;
            if certificates.is_empty() {
                return Err("no certificate is in it".to_owned());
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.user_agent(concat!("pounce/", env!("CARGO_PKG_VERSION"))).build();
        Ok(Self { client: client.map_err(|error| causes(&error))? })
    }

    /// Gets a URL, with a user's name and password.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn get(&self, url: &Url, login: Option<(&str, &str)>) -> Result<Answered, ReachError> {
        let request = self.client.get(url.clone());
        let request = match login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        read(request, MAX_BODY).await
    }

    /// Gets a URL, with these headers; the body has at most `max` bytes.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn read(&self, url: &Url, headers: &HeaderMap, max: usize) -> Result<Answered, ReachError> {
        read(self.client.get(url.clone()).headers(headers.clone()), max).await
    }

    /// Sends a request with these headers and this body. Nothing is said of the body of the answer.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answered, ReachError> {
        let mut response = self.client.request(method, url.clone()).headers(headers.clone()).body(body).send().await?;
        let status = response.status().as_u16();
        let location = header(&response, LOCATION.as_str()).map(str::to_owned);
        let is_registry = names_api(&response);
        let mut left = MAX_UNSEEN;
        while let Ok(Some(piece)) = response.chunk().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
        Ok(Answered { status, location, is_registry, bytes: Bytes::new() })
    }
}

async fn read(request: RequestBuilder, max: usize) -> Result<Answered, ReachError> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let location = header(&response, LOCATION.as_str()).map(str::to_owned);
    let is_registry = names_api(&response);
    let bytes = read_limited(response, max).await.map_err(|error| match error {
        UpstreamError::Unavailable(cause) => ReachError::Failed(cause),
        error => ReachError::Failed(error.to_string()),
    })?;
    Ok(Answered { status, location, is_registry, bytes })
}

impl From<reqwest::Error> for ReachError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Silent;
        }
        let cause = causes(&error.without_url());
        if cause.contains("invalid peer certificate") { Self::Certificate(cause) } else { Self::Failed(cause) }
    }
}
