//! What was measured, beside the aims.

use std::fmt::Write;

use crate::report::{number, today};
use crate::tools::machine;

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    what: String,
    measured: String,
    aim: String,
    verdict: &'static str,
}

impl Table {
    /// A figure that must not be larger than its aim.
    pub fn aim(&mut self, what: &str, value: f64, unit: &'static str, most: f64) {
        let verdict = if value <= most { "met" } else { "**missed**" };
        self.add(what, measured(value, unit), format!("≤ {}", measured(most, unit)), verdict);
    }

    /// A figure without an aim.
    pub fn figure(&mut self, what: &str, value: f64, unit: &'static str) {
        self.add(what, measured(value, unit), String::new(), "");
    }

    /// A row that could not be measured.
    pub fn failed(&mut self, what: &str, why: &str) {
        self.add(what, why.replace('|', " "), String::new(), "**missed**");
    }

    /// A sentence below the table.
    pub fn note(&mut self, text: String) {
        eprintln!("shared: {text}");
        self.notes.push(text);
    }

    fn add(&mut self, what: &str, measured: String, aim: String, verdict: &'static str) {
        eprintln!("shared: {what}: {measured} {aim} {verdict}");
        self.rows.push(Row { what: what.to_owned(), measured, aim, verdict });
    }

    pub fn section(&self) -> String {
        let mut text = format!(
            "{}; `make bench SCENARIO=shared`, {}.\n\n| what | measured | aim | |\n|---|---:|---:|---|\n",
            machine(),
            today()
        );
        for Row { what, measured, aim, verdict } in &self.rows {
            let _ = writeln!(text, "| {what} | {measured} | {aim} | {verdict} |");
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }
}

fn measured(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}
