//! The results of `pounce check`: a line each, or JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

/// How a check ended, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// pounce serves, but not all of it works as it could, or as it was meant.
    Warning,
    /// pounce does not start, or clients cannot do what they should.
    Failure,
}

/// What one check found. A result that is not ok names a setting and the next step.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    name: String,
    status: Status,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Results, in a stable order.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<CheckResult>);

/// How the beginning of a line says the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// `✓`, `!` and `✗`, for a terminal.
    Symbols,
    /// `ok`, `warning` and `failed`, for logs and screen readers.
    Words,
}

impl Report {
    /// A check that found nothing wrong.
    pub(super) fn passed(&mut self, name: &str, message: &str) {
        self.0.push(CheckResult {
            name: name.to_owned(),
            status: Status::Ok,
            message: message.to_owned(),
            setting: None,
            next: None,
        });
    }

    /// See [`Status::Warning`].
    pub(super) fn warned(&mut self, name: &str, setting: &str, message: &str, next: &str) {
        self.push(name, Status::Warning, setting, message, next);
    }

    /// See [`Status::Failure`].
    pub(super) fn failed(&mut self, name: &str, setting: &str, message: &str, next: &str) {
        self.push(name, Status::Failure, setting, message, next);
    }

    fn push(&mut self, name: &str, status: Status, setting: &str, message: &str, next: &str) {
        let [message, next] = [message, next].map(|text| text.trim_end_matches([' ', '.']).to_owned());
        let (name, setting) = (name.to_owned(), Some(setting.to_owned()));
        self.0.push(CheckResult { name, status, message, setting, next: Some(next) });
    }

    /// Adds the results of a check that ran beside this one.
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// A line for each result, and one that counts them.
    pub(super) fn lines(&self, marks: Marks) -> String {
        let mut text = String::new();
        for CheckResult { name, status, message, setting, next } in &self.0 {
            let mark = match (marks, status) {
                (Marks::Symbols, Status::Ok) => "✓",
                (Marks::Symbols, Status::Warning) => "!",
                (Marks::Symbols, Status::Failure) => "✗",
                (Marks::Words, Status::Ok) => "ok",
                (Marks::Words, Status::Warning) => "warning",
                (Marks::Words, Status::Failure) => "failed",
            };
            // Writing to a String does not fail.
            let _ = write!(text, "{mark} {name}: {message}");
            if let (Some(setting), Some(next)) = (setting, next) {
                let named = if message.contains(setting.as_str()) || next.contains(setting.as_str()) {
                    String::new()
                } else {
                    format!(" ({setting})")
                };
                let _ = write!(text, ". Next: {next}{named}");
            }
            text.push('\n');
        }
        let [ok, warnings, failures] = [Status::Ok, Status::Warning, Status::Failure].map(|status| self.count(status));
        let _ = writeln!(text, "{failures} failed, {warnings} warnings, {ok} ok");
        text
    }

    fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|result| result.status == status).count()
    }

    /// 0 if all is well, 1 with warnings, 2 with failures.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self.0.iter().map(|result| result.status).max() {
            None | Some(Status::Ok) => ExitCode::SUCCESS,
            Some(Status::Warning) => ExitCode::from(1),
            Some(Status::Failure) => ExitCode::from(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_setting_once() {
        let mut report = Report::default();
        report.passed("a", "it works");
        report.warned("b", "http.secret", "it is not set", "set http.secret.");
        report.failed("c", "storage.s3", "it is full.", "make room");
        let words = "ok a: it works\nwarning b: it is not set. Next: set http.secret\n\
                     failed c: it is full. Next: make room (storage.s3)\n1 failed, 1 warnings, 1 ok\n";
        assert_eq!(report.lines(Marks::Words), words);
        let symbols = report.lines(Marks::Symbols);
        assert!(symbols.starts_with("✓ a: ") && symbols.contains("\n! b: ") && symbols.contains("\n✗ c: "));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json[0], serde_json::json!({"name": "a", "status": "ok", "message": "it works"}));
        assert_eq!((&json[2]["status"], &json[2]["next"]), (&"failure".into(), &"make room".into()));
    }
}
