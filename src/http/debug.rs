//! The operator's listener (`http.debug.addr`).

use std::sync::{Arc, Weak};

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::{Site, health};
use crate::config::Debug;
use crate::telemetry::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics, if they are enabled, and health. A client who keeps a connection here does not keep the site.
pub fn router(config: &Debug, metrics: Arc<Metrics>, site: Weak<Site>) -> Router {
    let ready = get(async move || match site.upgrade() {
        Some(site) => health::ready(&site.registry).await,
        None => health::ended(),
    });
    let router = Router::new()
        .route("/healthz", get(async || health::alive()))
        .route("/readyz", ready.clone())
        // distribution's name for it.
        .route("/debug/health", ready);
    if !config.prometheus.enabled {
        return router;
    }
    let render = move || async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render()) };
    router.route(&config.prometheus.path, get(render))
}
