//! What happened last, in the order of time: printed where something is lost.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most lines: some minutes of a world of replicas.
const LINES: usize = 50_000;

/// The last lines that clients and the proxy before their bucket noted.
pub struct Trace {
    began: Instant,
    lines: Mutex<VecDeque<(Duration, String)>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { began: Instant::now(), lines: Mutex::default() }
    }
}

impl Trace {
    /// Adds a line, with the time.
    pub fn note(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back((self.began.elapsed(), line));
    }

    /// The lines with one of these texts.
    pub fn with(&self, texts: &[&str]) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = lines.iter().filter(|(_, line)| texts.iter().any(|text| line.contains(text)));
        let lines: Vec<_> = chosen.map(|(at, line)| format!("{:9.3} {line}", at.as_secs_f64())).collect();
        lines.join("\n")
    }
}
