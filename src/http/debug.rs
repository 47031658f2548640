//! The operator's listener (`http.debug.addr`).

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::config::Debug;
use crate::telemetry::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics, if they are enabled, and health.
pub fn router(config: &Debug, metrics: Arc<Metrics>) -> Router {
    let router = Router::new().route("/healthz", get(async || "ok\n"));
    if !config.prometheus.enabled {
        return router;
    }
    let render = move || async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render()) };
    router.route(&config.prometheus.path, get(render))
}
