//! Health checks: whether this process is alive, and whether it is ready for requests.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::registry::{Registry, Unready};

/// `/healthz`
pub(super) fn alive() -> Response {
    (StatusCode::OK, "ok\n").into_response()
}

/// `/readyz`: 503 while it drains, or its bucket does not answer.
pub(super) async fn ready(registry: &Registry) -> Response {
    match registry.readiness.check().await {
        Ok(()) => alive(),
        Err(why) => unready(why),
    }
}

/// `/readyz` once the registry is gone.
pub(super) fn ended() -> Response {
    unready(Unready::Draining)
}

fn unready(why: Unready) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
