//! The log: lines on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormatter, LogLevel};

/// Starts logging, once per process; later calls change nothing, so that tests may call it too.
///
/// Other crates speak from `warn` up: at `debug` some print the headers of signed requests.
pub fn init(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("warn,s3s=error,pounce={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.formatter {
        LogFormatter::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormatter::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log was already set up");
    }
}
