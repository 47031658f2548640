//! The operator's listener (`http.debug.addr`): health, status and metrics.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::server::{self, Listener, Shortage};
use super::status::{Began, Status};
use super::{AppState, headers, health, scrape};
use crate::config::Debug;
use crate::telemetry::{Levels, Metrics};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the operator's listener until `stop`, and then waits for no request.
pub(crate) async fn serve_debug(
    listener: Listener,
    config: &Debug,
    metrics: Arc<Metrics>,
    app: Weak<AppState>,
    stop: CancellationToken,
) {
    let router = router(config, metrics, app);
    let respond = Box::new(move |request, _| {
        let response = router.clone().oneshot(request);
        let response = response.map(|it| it.unwrap_or_else(|never| match never {}));
        Either::Right(response.boxed())
    });
    server::serve(listener, respond, Shortage::never(), stop, Duration::ZERO).await;
}

/// A client that keeps a connection open here does not keep the state.
fn router(config: &Debug, metrics: Arc<Metrics>, app: Weak<AppState>) -> Router {
    let (began, of, scraped) = (Began::now(), app.clone(), app.clone());
    let status = get(async move || match of.upgrade() {
        Some(app) => headers::serialized(&Status::of(&app, began)),
        None => health::ended(),
    });
    let ready = get(async move || match app.upgrade() {
        Some(app) => health::ready(&app.registry).await,
        None => health::ended(),
    });
    let router = Router::new()
        .route("/healthz", get(async || health::alive()))
        .route("/readyz", ready.clone())
        // distribution's name for it.
        .route("/debug/health", ready)
        .route("/status", status);
    if !config.prometheus.enabled {
        return router;
    }
    let render = move || async move {
        let text = scraped.upgrade().map_or_else(|| metrics.render(&Levels::default()), |app| scrape::render(&app));
        ([(header::CONTENT_TYPE, OPEN_METRICS)], text)
    };
    router.route(&config.prometheus.path, get(render))
}
