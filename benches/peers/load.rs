//! Load, made by wrk.

use std::path::Path;
use std::process::Command;

/// What is asked for, over and over.
pub struct Load<'a> {
    pub url: &'a str,
    pub connections: usize,
    pub seconds: u32,
    /// A header besides the usual ones.
    pub header: Option<&'a str>,
    /// A script of wrk's that makes the requests.
    pub script: Option<&'a Path>,
}

/// What came of it.
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Milliseconds within which 99 of 100 answers were there.
    pub p99: f64,
    /// How many requests that was.
    pub requests: f64,
}

impl Load<'_> {
    /// Makes it.
    ///
    /// # Errors
    /// wrk is missing, or not all answers were as they should be; in a sentence for the table.
    pub fn run(&self) -> Result<Figures, String> {
        let mut wrk = Command::new("wrk");
        // As many threads as cores: with fewer, wrk is what is measured.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        wrk.arg("--latency")
            .arg(format!("-t{}", threads.min(self.connections)))
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds));
        if let Some(header) = self.header {
            wrk.args(["-H", header]);
        }
        if let Some(script) = self.script {
            wrk.arg("-s").arg(script);
        }
        let output = wrk.arg(self.url).output();
        let output = output.map_err(|error| format!("wrk: {error}: install wrk"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = text.lines().find(|line| line.contains("Non-2xx")) {
            return Err(format!("wrk: {}", line.trim()));
        }
        if let Some(line) = text.lines().find(|line| line.contains("Socket errors")) {
            return Err(format!("wrk: {}", line.trim()));
        }
        let after = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            let rest = lines.find_map(|line| line.strip_prefix(name))?;
            Some(rest.trim().to_owned())
        };
        let rate = after("Requests/sec:").and_then(|it| it.parse().ok());
        let p99 = after("99%").and_then(|it| milliseconds(&it));
        let requests = text.lines().find_map(|line| {
            let (number, _) = line.trim().split_once(" requests in ")?;
            number.parse().ok()
        });
        match (rate, p99, requests) {
            (Some(rate), Some(p99), Some(requests)) => Ok(Figures {
                rate,
                p99,
                requests,
            }),
            _ => Err(format!("wrk said: {}", text.replace(['\n', '|'], " "))),
        }
    }
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * unit)
}
