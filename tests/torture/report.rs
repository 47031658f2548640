//! What was broken, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::client::{Outcome, Trouble};

/// One fault.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub fault: String,
    /// How often it was made to happen.
    pub injected: usize,
    /// What clients did meanwhile and afterwards.
    pub operations: usize,
    /// What was acknowledged and is not there.
    pub lost: Vec<String>,
    /// Bytes under a digest that is not theirs, and things that are half there.
    pub wrong: Vec<String>,
    /// Operations that ended neither well nor in an error that says why.
    pub failed: Vec<String>,
    /// Operations that ended in an error that says why.
    pub refused: usize,
    /// How often each of these was said.
    pub reasons: BTreeMap<String, usize>,
    /// What was under way when it happened, and how often.
    pub met: BTreeMap<String, usize>,
}

impl Row {
    pub fn new(fault: impl Into<String>) -> Self {
        Self { fault: fault.into(), ..Self::default() }
    }

    /// Counts an error that says why.
    fn refuse(&mut self, operation: &str, why: &Trouble) {
        self.refused += 1;
        *self.reasons.entry(format!("{operation}: {why:?}")).or_default() += 1;
    }

    /// Counts an operation that only its own mistakes can keep from succeeding.
    pub fn count(&mut self, what: &str, outcome: Outcome) {
        self.operations += 1;
        match outcome {
            Ok(()) => {}
            Err(trouble) if trouble.is_wrong() => self.wrong.push(format!("{what}: {trouble:?}")),
            Err(trouble) => self.failed.push(format!("{what}: {trouble:?}")),
        }
    }

    /// The same where it may also be told, with a reason, that it cannot be done now.
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

    /// The same for what was acknowledged, and has to be there.
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
        // Nothing can fail to be written into a string.
        let _ =
            writeln!(text, "| {fault}{met} | {injected} | {operations} | {refused} | {lost} | {wrong} | {failed} |");
    }
    text
}
