//! SIGTERM, SIGINT and SIGHUP.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

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
                telemetry::flush_logs();
                std::process::exit(1);
            }
            stop.cancel();
            tracing::info!("ending: {shutdown}");
        }
    });
    Ok(())
}

/// Opens files of the log anew at SIGHUP, as programs that rotate them expect. Where there is none, this is not called,
/// so that SIGHUP ends the process, as a closed terminal should.
///
/// # Errors
/// The system does not let the process handle the signal.
pub(super) fn reopen_at_hangup() -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            telemetry::reopen_log_files();
            tracing::info!("SIGHUP: the file of the access log is opened anew before its next line");
        }
    });
    Ok(())
}
