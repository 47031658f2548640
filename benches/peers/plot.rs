//! Pictures of what has an axis.

use std::fs;

use charts_rs::LineChart;
use serde_json::json;

/// A line for each contestant.
pub struct Lines {
    title: String,
    axis: &'static str,
    /// Where on the axis there are points.
    places: Vec<String>,
    drawn: Vec<(String, Vec<Option<f64>>)>,
}

impl Lines {
    pub fn new(title: &str, axis: &'static str) -> Self {
        Self { title: title.to_owned(), axis, places: Vec::new(), drawn: Vec::new() }
    }

    /// A figure at a place; places come in their order.
    pub fn point(&mut self, who: &str, place: usize, value: f64) {
        let place = place.to_string();
        let at = self.places.iter().position(|known| *known == place);
        let at = at.unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        });
        let known = self.drawn.iter().position(|(name, _)| name == who);
        let line = known.unwrap_or_else(|| {
            self.drawn.push((who.to_owned(), Vec::new()));
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
            values.resize(self.places.len(), None);
            // Up to what tells it from others of its kind: there is only one of them in a picture.
            let name = name.split(',').next();
            json!({"name": name, "data": values})
        });
        let chart = json!({
            "width": 720, "height": 400, "margin": {"right": 20, "top": 5},
            "title_text": self.title, "title_font_size": 15, "sub_title_text": self.axis,
            "x_axis_data": self.places, "series_list": series.collect::<Vec<_>>(),
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
