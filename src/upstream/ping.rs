//! Pinging an upstream (end-1): whether it is a registry, and accepts pounce.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;

use super::challenge::Challenge;
use super::client::{SMALL_TIMEOUT, Upstream};
use super::credentials::CredentialSource;
use super::error::UpstreamError;
use super::request::Request;
use super::response::{is_html, within};
use super::routing::Upstreams;
use crate::telemetry::UpstreamCall;

/// How an upstream authenticated pounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a user name and a password.
    Basic,
    /// By a token; an anonymous one, if pounce has no credentials.
    Token {
        /// pounce has no credentials for it.
        anonymous: bool,
    },
}

/// How long the ping of an upstream may take at start.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

impl Upstreams {
    /// Pings all upstreams at once, and logs a warning for each that cannot be used. Nothing depends on it.
    pub async fn ping(&self) {
        let ping = async |upstream: &Arc<Upstream>| {
            let late = || UpstreamError::Unavailable("it does not answer".into());
            let pinged = tokio::time::timeout(PING_TIMEOUT, upstream.ping()).await;
            if let Err(error) = pinged.unwrap_or_else(|_| Err(late())) {
                let (upstream, advice) = (upstream.label(), error.advice());
                tracing::warn!(upstream, %error, advice, "an upstream cannot be used");
            }
        };
        join_all(self.all().map(ping)).await;
    }
}

impl Upstream {
    /// Asks whether it is a registry, and accepts pounce.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn ping(&self) -> Result<Authentication, UpstreamError> {
        // Of the whole upstream, whatever the prefix of its repositories.
        let url = self.session.url("/v2/")?;
        let request = Request::new(UpstreamCall::Support, Method::GET, url, String::new());
        let response = within(SMALL_TIMEOUT, self.session.send(&request)).await?;
        if is_html(&response) {
            return Err(UpstreamError::Invalid("it sent a web page".into()));
        }
        let authorizer = &self.session.authorizer;
        let anonymous = matches!(authorizer.credentials, CredentialSource::Anonymous);
        Ok(match authorizer.challenges.of_home().await {
            None => Authentication::None,
            Some(Challenge::Basic) => Authentication::Basic,
            Some(Challenge::Bearer { .. }) => Authentication::Token { anonymous },
        })
    }
}
