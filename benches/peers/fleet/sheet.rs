//! The figures of all cells (a contestant, a way to pull, a number of nodes), as a table and as pictures.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{ALL, Way};
use crate::plot::Lines;
use crate::report::{number, today};
use crate::tools::machine;

/// One measurement.
#[derive(Clone, Copy)]
pub struct Cell {
    /// Until the last node has the image.
    pub seconds: f64,
    /// The bytes from the upstream, divided by those of the image.
    pub upstream: f64,
    /// The contestant's largest memory, in MiB.
    pub peak: Option<f64>,
    /// How much of the machine's processors was busy, 0 to 1.
    pub busy: f64,
    /// Requests that failed, and were sent again.
    pub repeated: u64,
}

/// From here on the processors are the limit, instead of the links.
const BUSY: f64 = 0.95;

/// All cells, in rows.
#[derive(Default)]
pub struct Sheet {
    rows: Vec<Row>,
}

struct Row {
    contestant: String,
    way: Way,
    cells: BTreeMap<usize, Cell>,
    /// Why a cell is missing: the first reason.
    failure: Option<String>,
}

impl Sheet {
    pub fn add(&mut self, contestant: &str, way: Way, nodes: usize, cell: Result<Cell, String>) {
        match &cell {
            Ok(cell) => {
                let Cell { seconds, upstream, peak, busy, repeated } = cell;
                let (peak, busy) = (peak.unwrap_or_default(), busy * 100.0);
                eprintln!(
                    "fleet: {contestant}, {way}, nodes: {nodes}: {seconds:.2} s, {upstream:.3} × from the upstream, \
                     {peak:.0} MiB, {busy:.0} % busy, {repeated} repeated"
                );
            }
            Err(why) => eprintln!("fleet: {contestant}, {way}, nodes: {nodes}: {why}"),
        }
        let at = self.rows.iter().position(|row| row.contestant == contestant && row.way == way);
        let at = at.unwrap_or_else(|| {
            let (contestant, cells) = (contestant.to_owned(), BTreeMap::new());
            self.rows.push(Row { contestant, way, cells, failure: None });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        match cell {
            Ok(cell) => {
                row.cells.insert(nodes, cell);
            }
            Err(why) => {
                row.failure.get_or_insert(why);
            }
        }
    }

    pub fn cell(&self, contestant: &str, way: Way, nodes: usize) -> Option<Cell> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.contestant == contestant && row.way == way)?;
        row.cells.get(&nodes).copied()
    }

    /// The section of the document: the table, what follows for the aims, and the pictures.
    pub fn section(&self) -> String {
        format!("{}\n{}\n{}", self.table(), self.aims(), self.pictures())
    }

    fn table(&self) -> String {
        let mut text =
            format!("{}; `make bench SCENARIO=fleet`, {}. One round.\n\n| contestant | pulled |", machine(), today());
        for nodes in ALL {
            let plural = if nodes == 1 { "" } else { "s" };
            let _ = write!(text, " {nodes} node{plural} |");
        }
        text.push_str(" from the upstream | peak memory | processors |\n|---|---|");
        text.push_str(&"---:|".repeat(ALL.len() + 3));
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} | {} |", row.contestant, row.way);
            for nodes in ALL {
                let cell = row.cells.get(&nodes).map_or(String::new(), Cell::text);
                let _ = write!(text, " {cell} |");
            }
            let most = row.cells.values().next_back();
            let upstream = most.map_or(String::new(), |cell| format!("{} ×", number(cell.upstream)));
            let highest = |of: fn(&Cell) -> Option<f64>| row.cells.values().filter_map(of).reduce(f64::max);
            let peak = highest(|cell| cell.peak).map_or(String::new(), |peak| format!("{peak:.0} MiB"));
            let busy = highest(|cell| Some(cell.busy)).map_or(String::new(), |busy| format!("{:.0} %", busy * 100.0));
            let upstream = row.failure.clone().unwrap_or(upstream);
            let _ = writeln!(text, " {upstream} | {peak} | {busy} |");
        }
        text
    }

    /// The aims, and what was measured.
    fn aims(&self) -> String {
        let (cold, warm, direct) = (super::COLD, super::WARM, super::DIRECT);
        let most = ALL[ALL.len() - 1];
        let seconds = |contestant, way, nodes| self.cell(contestant, way, nodes).map(|cell| cell.seconds);
        let ratio = |this: Option<f64>, that: Option<f64>| Some(this? / that?);
        let of_pounce = self.rows.iter().filter(|row| row.contestant.starts_with("pounce"));
        let of_pounce = of_pounce.flat_map(|row| row.cells.values());
        let peak = of_pounce.filter_map(|cell| cell.peak).reduce(f64::max);
        // Without the row of two replicas, each of which fetches by itself what it is asked for.
        let upstream = self.rows.iter().filter(|row| row.contestant == cold).flat_map(|row| row.cells.values());
        let upstream = upstream.map(|cell| cell.upstream).reduce(f64::max);
        let mut text = "| what | measured | aim |\n|---|---:|---:|\n".to_owned();
        for (what, measured, unit, aim) in [
            (
                "the last of 20 nodes, cold and whole: pounce ÷ the upstream itself",
                ratio(seconds(cold, Way::Whole, most), seconds(direct, Way::Whole, most)),
                "",
                "≤ 0.3",
            ),
            (
                "the same, in ranges",
                ratio(seconds(cold, Way::Ranges, most), seconds(direct, Way::Ranges, most)),
                "",
                "≤ 0.3",
            ),
            (
                "warm and whole: 20 nodes ÷ 1 node",
                ratio(seconds(warm, Way::Whole, most), seconds(warm, Way::Whole, 1)),
                "",
                "≤ 1.15",
            ),
            ("the largest memory of pounce", peak, " MiB", "≤ 150 MiB"),
            ("the most bytes from the upstream through one pounce", upstream, " ×", "≤ 1.1 ×"),
        ] {
            let measured = measured.map_or("not measured".to_owned(), |it| format!("{}{unit}", number(it)));
            let _ = writeln!(text, "| {what} | {measured} | {aim} |");
        }
        text
    }

    /// Draws the pictures; the links to them.
    fn pictures(&self) -> String {
        let mut seconds = Lines::new("an image of 400 MB, whole: seconds until the last node has it", "nodes");
        let mut bytes = Lines::new("the same: bytes from the upstream, × the image", "nodes");
        for nodes in ALL {
            for row in self.rows.iter().filter(|row| row.way == Way::Whole && row.cells.len() == ALL.len()) {
                seconds.point(&row.contestant, nodes, row.cells[&nodes].seconds);
                // A logarithmic axis has no zero: a warm pull takes nothing.
                if row.cells[&nodes].upstream > 0.1 {
                    bytes.point(&row.contestant, nodes, row.cells[&nodes].upstream);
                }
            }
        }
        seconds.save("fleet-seconds");
        bytes.save("fleet-upstream");
        "![seconds until the last node has the image](../benches/results/fleet-seconds.svg)\n\n\
         ![bytes from the upstream](../benches/results/fleet-upstream.svg)\n"
            .to_owned()
    }
}

impl Cell {
    fn text(&self) -> String {
        let busy = if self.busy > BUSY { ", processors full" } else { "" };
        let repeated = if self.repeated > 0 { format!(", {} requests repeated", self.repeated) } else { String::new() };
        format!("{} s{busy}{repeated}", number(self.seconds))
    }
}
