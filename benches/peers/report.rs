//! The figures of a run as one table, with the machine and the day.

use std::fmt::Write;

use crate::tools::{machine, median};

/// The figures of one contestant in one scenario.
struct Row {
    scenario: String,
    contestant: String,
    unit: &'static str,
    /// One for each round; or why there are none.
    values: Result<Vec<f64>, String>,
}

/// All rows, in the order in which they were added.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    /// Texts below the table.
    notes: Vec<String>,
}

impl Report {
    /// Adds figures, or why there are none. Those of one scenario and contestant are rounds.
    pub fn add(&mut self, scenario: &str, contestant: &str, unit: &'static str, values: Result<Vec<f64>, String>) {
        match &values {
            Ok(values) => eprintln!("{scenario}: {contestant}: {values:.3?} {unit}"),
            Err(why) => eprintln!("{scenario}: {contestant}: {why}"),
        }
        let same = |row: &&mut Row| row.scenario == scenario && row.contestant == contestant && row.unit == unit;
        match (self.rows.iter_mut().find(same), values) {
            (Some(Row { values: Ok(all), .. }), Ok(values)) => all.extend(values),
            // The row keeps the first failure.
            (Some(Row { values: Err(_), .. }), _) => {}
            (Some(row), Err(why)) => row.values = Err(why),
            (None, values) => {
                let (scenario, contestant) = (scenario.to_owned(), contestant.to_owned());
                self.rows.push(Row { scenario, contestant, unit, values });
            }
        }
    }

    /// Adds one figure.
    pub fn one(&mut self, scenario: &str, contestant: &str, unit: &'static str, value: f64) {
        self.add(scenario, contestant, unit, Ok(vec![value]));
    }

    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.notes.is_empty()
    }

    /// Adds a text below the table.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// The median of a row, if it has figures.
    pub fn median(&self, scenario: &str, contestant: &str) -> Option<f64> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.scenario == scenario && row.contestant == contestant)?;
        row.values.as_ref().ok().cloned().map(median)
    }

    /// The table, in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}; `make bench`, {}. Medians; the spread is that of all rounds. The last column is pounce's figure, \
             the first of its scenario, divided by that of the row.\n\n\
             | scenario | contestant | median | spread | pounce's ÷ this |\n|---|---|---:|---:|---:|\n",
            machine(),
            today()
        );
        let mut scenarios: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !scenarios.contains(&&row.scenario[..]) {
                scenarios.push(&row.scenario);
            }
        }
        let of = |scenario| self.rows.iter().filter(move |row| row.scenario == scenario);
        let mut above = "";
        for row in scenarios.into_iter().flat_map(of) {
            let scenario = if row.scenario == above { "" } else { &row.scenario };
            above = &row.scenario;
            let _ = match &row.values {
                Err(why) => writeln!(text, "| {scenario} | {} | {why} | | |", row.contestant),
                Ok(values) => {
                    let (unit, middle) = (row.unit, median(values.clone()));
                    let (least, most) = (fold(values, f64::min), fold(values, f64::max));
                    let spread = match values.len() {
                        1 => String::new(),
                        _ => format!("{}–{}", number(least), number(most)),
                    };
                    let pounce = self.pounce(row).filter(|pounce| !std::ptr::eq(*pounce, row));
                    let pounce = pounce.and_then(|row| row.values.as_ref().ok().cloned());
                    let ratio = pounce.map(|it| median(it) / middle).filter(|ratio| ratio.is_finite());
                    let ratio = ratio.map_or(String::new(), number);
                    let (contestant, middle) = (&row.contestant, number(middle));
                    writeln!(text, "| {scenario} | {contestant} | {middle} {unit} | {spread} | {ratio} |")
                }
            };
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }

    /// The row of pounce with which another row is compared.
    fn pounce(&self, with: &Row) -> Option<&Row> {
        let mut rows = self.rows.iter();
        let is = |row: &&Row| row.scenario == with.scenario && row.unit == with.unit;
        rows.find(|row| is(row) && row.contestant.starts_with("pounce"))
    }
}

fn fold(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().reduce(choose).unwrap_or_default()
}

/// A figure with three significant digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The day, as in 06 Nov 1994.
pub fn today() -> String {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    // "Sun, 06 Nov 1994 08:49:37 GMT"
    now.get(5..16).unwrap_or_default().to_owned()
}
