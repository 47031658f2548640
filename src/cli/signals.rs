//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first signal, and ends the process at the second. The log explains the shutdown by `shutdown`.
///
/// # Errors
/// The system does not let the process handle the signals.
pub(super) fn watch(stop: CancellationToken, shutdown: &'static str) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("ending at once");
                std::process::exit(1);
            }
            stop.cancel();
            tracing::info!("ending: {shutdown}");
        }
    });
    Ok(())
}
