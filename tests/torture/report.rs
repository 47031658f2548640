//! Injected faults, and their consequences.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::client::{Outcome, Trouble};

/// One fault.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub fault: String,
    /// How often it was injected.
    pub injected: usize,
    /// Clients' operations, meanwhile and afterwards.
    pub operations: usize,
    /// Acknowledged content that is not there.
    pub lost: Vec<String>,
    /// Bytes with another digest, and incomplete content.
    pub wrong: Vec<String>,
    /// Operations without success and without an error that gives a reason.
    pub failed: Vec<String>,
    /// Operations that ended in an error with a reason.
    pub refused: usize,
    /// How often each reason was given.
    pub reasons: BTreeMap<String, usize>,
    /// The interrupted operations, and how often each was interrupted.
    pub met: BTreeMap<String, usize>,
}

impl Row {
    pub fn new(fault: impl Into<String>) -> Self {
        Self { fault: fault.into(), ..Self::default() }
    }

    /// Counts an error with a reason.
    fn refuse(&mut self, operation: &str, why: &Trouble) {
        self.refused += 1;
        *self.reasons.entry(format!("{operation}: {why:?}")).or_default() += 1;
    }

    /// Counts an operation that has to succeed.
    pub fn count(&mut self, what: &str, outcome: Outcome) {
        self.operations += 1;
        match outcome {
            Ok(()) => {}
            Err(trouble) if trouble.is_wrong() => self.wrong.push(format!("{what}: {trouble:?}")),
            Err(trouble) => self.failed.push(format!("{what}: {trouble:?}")),
        }
    }

    /// Counts an operation that may also be refused for now, with a reason.
    pub fn count_refusable(&mut self, what: &str, outcome: Outcome) {
        match outcome {
            Err(trouble) if trouble.is_clear() => {
                self.operations += 1;
                let operation = what.split(' ').next().unwrap_or_default();
                self.refuse(operation, &trouble);
            }
            other => self.count(what, other),
        }
    }

    /// Counts a read of acknowledged content, which has to be there.
    pub fn count_acknowledged(&mut self, what: &str, read: Outcome) {
        match read {
            Err(trouble) if trouble.is_absence() => {
                self.operations += 1;
                self.lost.push(format!("{what}: {trouble:?}"));
            }
            other => self.count(what, other),
        }
    }

    pub fn is_clean(&self) -> bool {
        let tried = self.injected > 0 && self.operations > 0;
        tried && self.lost.is_empty() && self.wrong.is_empty() && self.failed.is_empty()
    }

    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self:#?}");
    }
}

/// The rows as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = "| fault | injected | operations | refused, with a reason | lost | wrong | failed |\n".to_owned();
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for row in rows {
        let (lost, wrong, failed) = (row.lost.len(), row.wrong.len(), row.failed.len());
        let Row { fault, injected, operations, refused, .. } = row;
        let met: Vec<String> = row.met.iter().map(|(what, times)| format!("{times} {what}")).collect();
        let met = if met.is_empty() { String::new() } else { format!(", at {}", met.join(", ")) };
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "| {fault}{met} | {injected} | {operations} | {refused} | {lost} | {wrong} | {failed} |");
    }
    text
}
