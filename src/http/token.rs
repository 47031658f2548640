//! `/v2/token`, where pounce is a token server itself (<https://distribution.github.io/distribution/spec/auth/token/>).

use axum::http::header::{self, HeaderValue};
use serde::Serialize;

use super::{Answer, Site, headers};
use crate::auth::Identity;
use crate::oci::{Error, ErrorCode};

#[derive(Serialize)]
struct Answered<'a> {
    token: &'a str,
    access_token: &'a str,
    /// In seconds.
    expires_in: u64,
    issued_at: String,
}

/// A token for whoever asks, good for what they may do, whatever scope was asked for.
pub(super) fn issue(site: &Site, who: &Identity) -> Result<Answer, Error> {
    let pass = site.access.pass(who).ok_or_else(super::not_an_endpoint)?;
    let pass = pass.map_err(|error| {
        let message = "no token can be made";
        Error::new(ErrorCode::Unavailable, message).because(error)
    })?;
    let body = Answered {
        token: &pass.token,
        access_token: &pass.token,
        expires_in: pass.life.as_secs(),
        issued_at: humantime::format_rfc3339_seconds(pass.issued).to_string(),
    };
    // Texts and numbers always serialize.
    let mut response = headers::json(serde_json::to_vec(&body).unwrap_or_default());
    let no_store = HeaderValue::from_static("no-store");
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, no_store);
    Ok(response.into())
}
