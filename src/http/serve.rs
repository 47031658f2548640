//! Accepting connections, and ending well.

use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`, then lets the requests that are under way end within `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let listener = listener.tap_io(|connection| {
        // A redirect is one small packet that nothing follows: waiting for more would only delay it.
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let stopped = stop.clone();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let out_of_time = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        // It retries failed accepts by itself and ends only after a shutdown.
        _ = server => {}
        () = out_of_time => tracing::warn!("cutting off requests that did not end within http.draintimeout"),
    }
}
