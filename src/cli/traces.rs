//! The collector of traces, where the environment names one.

use std::sync::Arc;

use futures_util::FutureExt;
use http::Method;

use crate::config::Environment;
use crate::telemetry::{self, Post, TraceSettings, Traces};
use crate::upstream::Reach;

/// Sends traces from now on, if the variables of OpenTelemetry say where, and logs what is wrong with them. Nothing
/// that is wrong keeps pounce from serving.
pub(super) fn start(environment: &Environment) {
    let Traces { settings, notices } = Traces::read(environment);
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let Some(settings) = settings else {
        return;
    };
    let collector = settings.origin();
    match post(&settings).and_then(|post| telemetry::start_traces(&settings, post)) {
        Ok(()) => tracing::info!(collector, "traces are sent to this collector"),
        Err(cause) => tracing::warn!(collector, cause, "traces cannot be sent"),
    }
}

/// A client of the collector. It follows no redirects, because the headers may have a token.
///
/// # Errors
/// The certificates of this machine cannot be read.
pub(super) fn post(settings: &TraceSettings) -> Result<Post, String> {
    let url = settings.endpoint.clone();
    let client = Reach::new(&url, None, settings.timeout)?;
    Ok(Arc::new(move |headers, body| {
        let (url, client) = (url.clone(), client.clone());
        async move {
            let answered = client.send(Method::POST, &url, &headers, body).await;
            answered.map(|answered| answered.status).map_err(|error| error.to_string())
        }
        .boxed()
    }))
}
