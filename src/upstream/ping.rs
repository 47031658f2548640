//! Saying hello to an upstream (end-1), for those who want to know whether all is well with it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

use super::challenge::Challenge;
use super::choice::Upstreams;
use super::client::{SMALL, Upstream, header, within};
use super::error::UpstreamError;
use super::session::Ask;
use crate::telemetry::UpstreamCall;

/// How an upstream let pounce in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It asked for nothing.
    Open,
    /// By a name and a password.
    Password,
    /// By a token; an anonymous one, if pounce has no credentials.
    Token {
        /// pounce has no credentials for it.
        anonymous: bool,
    },
}

/// How long all upstreams may take to be greeted at start.
const GREETING: Duration = Duration::from_secs(20);

impl Upstreams {
    /// Greets every upstream once, all at the same time, and warns of what is wrong, in a line each. Nothing depends on
    /// it.
    pub async fn greet(&self) {
        let greet = |upstream: &Arc<Upstream>| {
            let upstream = Arc::clone(upstream);
            async move {
                let late = || UpstreamError::Unavailable("it does not answer".into());
                let greeted = tokio::time::timeout(GREETING, upstream.greet()).await;
                if let Err(error) = greeted.unwrap_or_else(|_| Err(late())) {
                    let (upstream, advice) = (upstream.label(), error.advice());
                    tracing::warn!(upstream, %error, advice, "an upstream does not welcome this registry");
                }
            }
        };
        join_all(self.all().map(greet)).await;
    }
}

impl UpstreamError {
    /// What an operator can do about an upstream that answers so to a greeting.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Denied { anonymous: true, .. } => {
                "it wants credentials: set username and password, or exec.command, beside remoteurl"
            }
            Self::Denied { .. } => "check username and password, or exec.command",
            Self::NotFound | Self::Unrecognized(_) | Self::Unsupported(_) | Self::Invalid(_) => {
                "check remoteurl: there is no registry at that address"
            }
            Self::TooManyRequests { .. } => "wait, or give pounce credentials",
            Self::Unavailable(_) => "check remoteurl, and that this machine reaches it",
        }
    }
}

impl Upstream {
    /// Asks whether it is a registry, and whether it lets pounce in.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn greet(&self) -> Result<Greeting, UpstreamError> {
        // Its own, whatever part of it is meant.
        let root = self.session.base().as_str().trim_end_matches('/');
        let url = format!("{root}/v2/");
        let url = Url::parse(&url).map_err(|error| UpstreamError::Invalid(error.to_string()))?;
        let ask = Ask {
            call: UpstreamCall::Support,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            scope: String::new(),
            stays: false,
        };
        let response = within(SMALL, self.session.send(&ask)).await?;
        let media_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        if media_type.trim_start().to_ascii_lowercase().starts_with("text/html") {
            return Err(UpstreamError::Invalid("it sent a web page".into()));
        }
        Ok(match self.session.demanded().await {
            None => Greeting::Open,
            Some(Challenge::Basic) => Greeting::Password,
            Some(Challenge::Bearer { .. }) => Greeting::Token { anonymous: self.session.is_anonymous() },
        })
    }
}
