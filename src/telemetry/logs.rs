//! The log: lines on standard error, as text or JSON.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::output::{Output, Priority};
use crate::config::{Log, LogFormatter, LogLevel};

/// Starts logging. Later calls in the same process have no effect, so that tests may call it, too.
///
/// Other crates log from `warn` up, because some print the headers of signed requests at `debug`. The SDK and the
/// embedded S3 server do not log, because they return their errors.
///
/// # Errors
/// The system has no thread for the log.
pub fn init(log: &Log) -> io::Result<()> {
    let output = Output::stderr()?;
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("warn,s3s=off,aws_config=off,aws_smithy_runtime=off,pounce={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // The crate would report them on standard error, and wait for it.
        .log_internal_errors(false)
        .with_writer(Writer(output));
    let started = match log.formatter {
        LogFormatter::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormatter::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logs: already initialized");
    }
    Ok(())
}

/// Hands lines to the output.
struct Writer(Arc<Output>);

/// Each write is of whole lines.
struct Lines<'a>(&'a Output, Priority);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(&self.0, Priority::Event)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Lines<'a> {
        Lines(&self.0, if *event.level() == Level::ERROR { Priority::Error } else { Priority::Event })
    }
}

impl io::Write for Lines<'_> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines, self.1);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error and its causes in one line, without repetitions.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// Whether these causes are those of a TLS client at a port without TLS, by the words of rustls.
pub fn speaks_plain_http(causes: &str) -> bool {
    causes.contains("InvalidContentType")
}
