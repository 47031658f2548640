//! What was broken, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::client::Trouble;

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
}

impl Row {
    pub fn new(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            ..Self::default()
        }
    }

    /// Counts an error that says why.
    pub fn refuse(&mut self, operation: &str, why: &Trouble) {
        self.refused += 1;
        *self
            .reasons
            .entry(format!("{operation}: {why:?}"))
            .or_default() += 1;
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
    let mut text =
        "| fault | injected | operations | refused, with a reason | lost | wrong | failed |\n"
            .to_owned();
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for row in rows {
        let (lost, wrong, failed) = (row.lost.len(), row.wrong.len(), row.failed.len());
        let Row {
            fault,
            injected,
            operations,
            refused,
            ..
        } = row;
        // Nothing can fail to be written into a string.
        let _ = writeln!(
            text,
            "| {fault} | {injected} | {operations} | {refused} | {lost} | {wrong} | {failed} |"
        );
    }
    text
}
