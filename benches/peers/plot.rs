//! Line charts of scenarios with an axis.

use std::fs;

use charts_rs::LineChart;
use serde_json::json;

/// A chart with a line for each contestant.
pub struct Lines {
    title: String,
    axis: &'static str,
    /// The positions on the axis that have points.
    positions: Vec<String>,
    drawn: Vec<(String, Vec<Option<f64>>)>,
}

impl Lines {
    pub fn new(title: &str, axis: &'static str) -> Self {
        Self { title: title.to_owned(), axis, positions: Vec::new(), drawn: Vec::new() }
    }

    /// Adds a figure. Positions come in their order.
    pub fn point(&mut self, contestant: &str, position: usize, value: f64) {
        let position = position.to_string();
        let at = self.positions.iter().position(|it| *it == position);
        let at = at.unwrap_or_else(|| {
            self.positions.push(position);
            self.positions.len() - 1
        });
        let drawn = self.drawn.iter().position(|(name, _)| name == contestant);
        let line = drawn.unwrap_or_else(|| {
            self.drawn.push((contestant.to_owned(), Vec::new()));
            self.drawn.len() - 1
        });
        let values = &mut self.drawn[line].1;
        values.resize(values.len().max(at + 1), None);
        values[at] = Some(value);
    }

    /// Writes `benches/results/<name>.svg`.
    pub fn save(&self, name: &str) {
        let series = self.drawn.iter().map(|(name, values)| {
            let mut values = values.clone();
            values.resize(self.positions.len(), None);
            // The part before the comma: a chart has only one contestant of a kind.
            let name = name.split(',').next();
            json!({"name": name, "data": values})
        });
        let chart = json!({
            "width": 720, "height": 400, "margin": {"right": 20, "top": 5},
            "title_text": self.title, "title_font_size": 15, "sub_title_text": self.axis,
            "x_axis_data": self.positions, "series_list": series.collect::<Vec<_>>(),
            "y_axis_configs": [{"axis_scale": "log"}],
            "legend_margin": {"top": 45},
        });
        let svg = LineChart::from_json(&chart.to_string()).and_then(|chart| chart.svg());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../results");
        fs::create_dir_all(folder).unwrap();
        let path = format!("{folder}/{name}.svg");
        match svg {
            Ok(svg) => fs::write(path, svg).unwrap(),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}
