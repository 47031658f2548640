//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The first one asks for an orderly end, for which `stop` is cancelled; the second one for an immediate one. `how`
/// says in the log what the orderly end is.
///
/// # Errors
/// The system does not let the process handle them.
pub(super) fn watch(stop: CancellationToken, how: &'static str) -> std::io::Result<()> {
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
            tracing::info!("ending: {how}");
        }
    });
    Ok(())
}
