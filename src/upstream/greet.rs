//! Saying hello to an upstream (end-1), for those who want to know whether all is well with it.

use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use super::challenge::Challenge;
use super::client::{SMALL, Upstream, within};
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

impl Upstream {
    /// Asks whether it is a registry, and whether it lets pounce in.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn greet(&self) -> Result<Greeting, UpstreamError> {
        let url = format!("{}/v2/", self.label());
        let url = Url::parse(&url).map_err(|error| UpstreamError::Invalid(error.to_string()))?;
        let ask = Ask {
            call: UpstreamCall::Support,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            scope: String::new(),
            stays: false,
        };
        within(SMALL, self.session.send(&ask)).await?;
        Ok(match self.session.demanded().await {
            None => Greeting::Open,
            Some(Challenge::Basic) => Greeting::Password,
            Some(Challenge::Bearer { .. }) => Greeting::Token {
                anonymous: self.session.is_anonymous(),
            },
        })
    }
}
