//! Requests to an upstream.

use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use crate::telemetry::UpstreamCall;

/// One request, in a form that can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) call: UpstreamCall,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The scope that a token must have.
    pub(super) scope: String,
    /// A redirect is not followed, but is the response.
    pub(super) no_redirect: bool,
}

impl Request {
    pub(super) fn new(call: UpstreamCall, method: Method, url: Url, scope: String) -> Self {
        Self { call, method, url, headers: HeaderMap::new(), scope, no_redirect: false }
    }
}

/// Where a request is on its way through redirects.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) url: Url,
    /// No redirect has led to another origin. Only here does pounce use its credentials.
    pub(super) is_home: bool,
}

impl Hop {
    pub(super) fn first(request: &Request) -> Self {
        Self { url: request.url.clone(), is_home: true }
    }

    pub(super) fn to(self, url: Url) -> Self {
        Self { is_home: self.is_home && url.origin() == self.url.origin(), url }
    }
}
