//! What was broken, and what came of it.

use std::fmt::Write;

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
}

impl Row {
    pub fn new(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            ..Self::default()
        }
    }

    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty() && self.failed.is_empty()
    }

    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self:#?}");
        assert!(self.injected > 0 && self.operations > 0, "{self:#?}");
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
