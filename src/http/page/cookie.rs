//! The session of a browser: a cookie, because a browser that sends Basic credentials cannot log out.

use axum::http::header::{self, HeaderMap};

use crate::auth::Identity;
use crate::http::Context;
use crate::http::authenticate::network_address;

/// The name of the cookie.
pub(super) const COOKIE: &str = "pounce_session";
/// The longest session that is looked at, in bytes.
const MAX: usize = 4096;

/// The user of a request's session, and its address for rules with networks. Any other client is anonymous.
pub(super) fn identity(cx: &Context<'_>) -> Identity {
    let session = session(&cx.request.headers).and_then(|session| cx.app.access().resume_session(session));
    session.unwrap_or(Identity::ANONYMOUS).at(network_address(cx))
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(name, value)| *name == COOKIE && value.len() <= MAX).map(|(_, value)| value)
}
