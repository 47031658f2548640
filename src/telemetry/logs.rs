//! The log: lines on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormatter, LogLevel};

/// Starts logging, once per process; later calls change nothing, so that tests may call it too.
///
/// Other crates speak from `warn` up: at `debug` some print the headers of signed requests. The SDK and the embedded
/// server do not speak at all; what they have to say comes back as errors.
pub fn init(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("warn,s3s=off,aws_smithy_runtime=off,pounce={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Whoever read the log may be gone: the crate would say so on standard error, and panic there.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match log.formatter {
        LogFormatter::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormatter::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log was already set up");
    }
}

/// An error and all that lies behind it, in one line. What a cause repeats of its own causes is left out.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
