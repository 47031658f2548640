//! The access log: a line for each request, in one of three formats.
//!
//! A line is composed in memory of its thread, and handed to an output, which another thread writes: a request neither
//! allocates nor waits for its line. `tracing` is not used for it, because an event of it took as long as a redirect.

mod clock;
mod combined;
mod escape;
mod fields;
mod json;
mod line;
mod text;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use super::output::{Output, Priority};
use crate::config::{AccessLogFormat, Log, LogFormatter, LogLevel};
use clock::Clock;

pub(crate) use escape::cut;
pub(crate) use line::Line;

/// Where the lines of requests go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    output: Arc<Output>,
}

/// What a thread needs for its lines.
#[derive(Debug, Default)]
struct Scratch {
    line: Vec<u8>,
    clock: Clock,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl AccessLog {
    /// The access log that a configuration describes; `None` if requests are not logged.
    ///
    /// # Errors
    /// The file cannot be opened, or the system has no thread.
    pub(crate) fn open(log: &Log) -> io::Result<Option<Self>> {
        let format = format(log);
        let output = match &log.accesslog.file {
            _ if log.accesslog.disabled => return Ok(None),
            Some(path) => Output::file(path.clone())?,
            // A line is information: a log of warnings has none.
            None if matches!(log.level, LogLevel::Error | LogLevel::Warn) => return Ok(None),
            None => Output::stderr()?,
        };
        Ok(Some(Self { format, output }))
    }

    /// Writes a request's line.
    pub(crate) fn write(&self, line: &Line<'_>) {
        // A thread that ends has no memory of its own any more, and serves no requests.
        let _ = SCRATCH.try_with(|scratch| {
            let scratch = &mut *scratch.borrow_mut();
            compose(self.format, line, scratch);
            self.output.push(&scratch.line, Priority::Request);
        });
    }
}

fn compose(format: AccessLogFormat, line: &Line<'_>, scratch: &mut Scratch) {
    let Scratch { line: out, clock } = scratch;
    out.clear();
    let now = clock.at(line.ended);
    match format {
        AccessLogFormat::Text => text::write(out, line, now),
        AccessLogFormat::Combined => combined::write(out, line, now),
        AccessLogFormat::Json => json::write(out, line, now),
    }
    out.push(b'\n');
}

fn format(log: &Log) -> AccessLogFormat {
    log.accesslog.format.unwrap_or(match log.formatter {
        LogFormatter::Text => AccessLogFormat::Text,
        LogFormatter::Json => AccessLogFormat::Json,
    })
}

/// Composes a line in this format again and again, for `benches/micro`; its length in bytes.
#[cfg(feature = "internals")]
pub(crate) fn measured_line(format: &str) -> usize {
    use crate::oci::Outcome;
    let format = match format {
        "text" => AccessLogFormat::Text,
        "json" => AccessLogFormat::Json,
        _ => AccessLogFormat::Combined,
    };
    let reference = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let line = Line {
        method: "GET",
        path: "/v2/library/ubuntu/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        protocol: "HTTP/1.1",
        repository: Some("library/ubuntu"),
        reference: Some(&reference),
        status: Some(307),
        bytes: 0,
        began: std::time::Instant::now(),
        ended: std::time::Instant::now(),
        outcome: Some(Outcome::Hit),
        code: None,
        complete: true,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        user: Some("somebody"),
        user_agent: Some(b"containerd/v2.1.0"),
        request_id: uuid::Uuid::nil(),
    };
    SCRATCH.with_borrow_mut(|scratch| {
        compose(format, &line, scratch);
        scratch.line.len()
    })
}
