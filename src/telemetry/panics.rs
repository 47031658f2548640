//! Panics in the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::thread;

use super::output;

/// A panic is logged as an error from now on; without a log, it is a line on standard error. The standard library's own
/// message would wait for a pipe that is not read, and hold a thread, or the end of the process, for ever.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log(panic);
        // A panic while another one unwinds ends the process.
        output::flush();
    }));
}

fn log(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let cause = panic.payload_as_str().unwrap_or("not told");
    let backtrace = Backtrace::capture();
    if tracing::dispatcher::has_been_set() {
        // As the operator asks for it by RUST_BACKTRACE.
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
        tracing::error!(thread, location, cause, backtrace, "a thread panicked: this is a defect of pounce");
    } else {
        output::print_error(&format!("pounce: thread {thread} panicked at {location}: {cause:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::config::{Log, LogFormatter};

    /// Set in the process that panics.
    const PANICS: &str = "POUNCE_TEST_PANICS";

    /// The test runs itself, because a process has one log and one hook.
    #[test]
    fn a_panic_is_a_line_of_the_log() {
        if std::env::var_os(PANICS).is_some() {
            crate::telemetry::init_logs(&Log { formatter: LogFormatter::Json, ..Log::default() }).unwrap();
            log_panics();
            let panicked = thread::Builder::new().name("worker".to_owned()).spawn(|| panic!("a \"cause\"\nforged"));
            assert!(panicked.unwrap().join().is_err());
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "telemetry::panics::tests::a_panic_is_a_line_of_the_log", "--nocapture"]);
        let output = command.env(PANICS, "1").env_remove("RUST_BACKTRACE").output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("panicked")).collect();
        let [line] = lines[..] else { panic!("{log}") };
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"worker".into()));
        assert_eq!(line["cause"], "a \"cause\"\nforged");
        assert!(line["location"].as_str().unwrap().contains("panics.rs:"), "{line}");
    }
}
