//! SIGTERM, SIGINT and SIGHUP.

use std::fs::File;
use std::io::IsTerminal;
use std::sync::Once;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{reload, telemetry};

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

/// At SIGHUP, opens files of the log anew, as programs that rotate them expect, and reads the configuration and the files
/// that it names. Cancels `stop` where the reason of the signal is that the process's terminal is gone.
///
/// # Errors
/// The system does not let the process handle the signal.
pub(super) fn reload_at_hangup(stop: CancellationToken) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let had_terminal = has_terminal();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if had_terminal && !has_terminal() {
                stop.cancel();
                return;
            }
            telemetry::reopen_log_files();
            tracing::info!("SIGHUP: log files are opened anew, and the configuration and its files are read again");
            reload::read_all_again();
        }
    });
    Ok(())
}

/// Whether the process still talks to a terminal. One that is closed is none.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
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
