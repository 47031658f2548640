//! Pinging an upstream (end-1): whether it is a registry, and accepts pounce.

use reqwest::Method;

use super::handle::{SMALL_TIMEOUT, Upstream};
use crate::telemetry::UpstreamCall;
use crate::upstream::challenge::Challenge;
use crate::upstream::credentials::CredentialSource;
use crate::upstream::error::UpstreamError;
use crate::upstream::request::Request;
use crate::upstream::response::{is_html, within};

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

impl Upstream {
    /// Asks whether it is a registry, and accepts pounce, with each of its credentials.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn ping(&self) -> Result<Authentication, UpstreamError> {
        // Of the whole upstream, whatever the prefix of its repositories.
        let url = self.session.url("/v2/")?;
        let request = Request::new(UpstreamCall::Support, Method::GET, url, String::new());
        for account in self.session.accounts.all() {
            let response = match within(SMALL_TIMEOUT, self.session.send_by(account, &request)).await {
                // registry.ollama.ai has no `/v2/`. Its 404 shows that a server answers, which is all that can be known.
                Err(UpstreamError::NotFound | UpstreamError::Unrecognized(_)) if !self.answers_ping => {
                    return Ok(Authentication::None);
                }
                sent => sent?,
            };
            if is_html(&response) {
                return Err(UpstreamError::Invalid("it sent a web page".into()));
            }
        }
        let authorizer = self.session.accounts.first();
        let anonymous = matches!(authorizer.credentials, CredentialSource::Anonymous);
        Ok(match authorizer.challenges.of_home().await {
            None => Authentication::None,
            Some(Challenge::Basic) => Authentication::Basic,
            Some(Challenge::Bearer { .. }) => Authentication::Token { anonymous },
        })
    }
}
