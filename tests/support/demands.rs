//! The credentials or tokens that the tests' upstream demands before it answers.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use super::upstream::{Auth, Manners};

fn basic(manners: &Manners) -> String {
    let pair = format!("user:{}", manners.secret);
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

pub fn demand(manners: &Manners, request: &Request, name: &str, addr: SocketAddr) -> Option<Response> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (right, challenge) = match manners.auth {
        Auth::Nothing => return None,
        Auth::Basic => (basic(manners), "Basic realm=\"upstream\"".to_owned()),
        Auth::Bearer | Auth::AnonymousBearer | Auth::Identity => {
            let mut challenge = format!("Bearer realm=\"http://{addr}/token\",service=\"test\"");
            let mut scope = String::new();
            if !name.is_empty() {
                scope = format!("repository:{name}:pull");
                challenge = format!("{challenge},scope=\"{scope}\"");
            }
            (format!("Bearer token-for-{scope}"), challenge)
        }
    };
    (given != Some(&right)).then(|| (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response())
}

pub(crate) async fn token(manners: &Manners, request: Request) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if manners.auth == Auth::Bearer && given != Some(&basic(manners)[..]) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(elsewhere) = &manners.redirects_tokens_to {
        let location = [(header::LOCATION, format!("{elsewhere}/token"))];
        return (StatusCode::TEMPORARY_REDIRECT, location).into_response();
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let form = axum::body::to_bytes(request.into_body(), 10_000).await.unwrap();
    let parameters = if manners.auth == Auth::Identity { &form } else { query.as_bytes() };
    let find = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(parameters);
        pairs.find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
    };
    let is_right = || {
        find("grant_type").as_deref() == Some("refresh_token")
            && find("refresh_token").as_deref() == Some("refresh me")
            && find("service").as_deref() == Some("test")
    };
    if manners.auth == Auth::Identity && !is_right() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let scope = find("scope").unwrap_or_default();
    let answer = json!({"token": format!("token-for-{scope}"), "expires_in": manners.expires_in});
    axum::body::Body::from(answer.to_string()).into_response()
}
