//! SIGTERM, SIGINT and SIGHUP.

use std::fs::File;
use std::sync::Once;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
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

/// From now on, Ctrl-C makes the terminal show what is typed before it ends the process: a shell may leave the terminal as
/// it was while a password was typed.
///
/// # Errors
/// There is no terminal, or the system does not let the process handle the signal.
pub(super) fn show_input_after_interrupt() -> std::io::Result<()> {
    static ONCE: Once = Once::new();
    let mut watched = Ok(());
    ONCE.call_once(|| watched = watch_terminal());
    watched
}

fn watch_terminal() -> std::io::Result<()> {
    let terminal = File::open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut interrupt = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        runtime.block_on(interrupt.recv());
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
        end_interrupted();
    })?;
    Ok(())
}

/// Ends the process with the status that a shell has for SIGINT.
pub(super) fn end_interrupted() -> ! {
    std::process::exit(130);
}
