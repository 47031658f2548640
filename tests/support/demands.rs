//! What the upstream of the tests demands before it answers: credentials, or a token for them.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::upstream::{Auth, Manners};

/// `user:secret`
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

pub fn demand(auth: &Auth, request: &Request, name: &str, addr: SocketAddr) -> Option<Response> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (right, challenge) = match auth {
        Auth::Nothing => return None,
        Auth::Basic => (BASIC.to_owned(), "Basic realm=\"upstream\"".to_owned()),
        Auth::Bearer | Auth::AnonymousBearer => {
            let scope = format!("repository:{name}:pull");
            let challenge =
                format!("Bearer realm=\"http://{addr}/token\",service=\"test\",scope=\"{scope}\"");
            (format!("Bearer token-for-{scope}"), challenge)
        }
    };
    (given != Some(&right)).then(|| {
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
        )
            .into_response()
    })
}

pub fn token(manners: &Manners, request: &Request) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if manners.auth == Auth::Bearer && given != Some(BASIC) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let scope = url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "scope")
        .unwrap()
        .1;
    let answer = json!({"token": format!("token-for-{scope}"), "expires_in": manners.expires_in});
    axum::body::Body::from(answer.to_string()).into_response()
}
