//! The output of `pounce warm`: progress bars on a terminal, and lines.

use std::io::Write;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// All bars.
pub(super) struct Progress {
    bars: MultiProgress,
    shown: bool,
}

/// The bar of one blob, which is removed on drop.
pub(super) struct Bar(ProgressBar);

impl Progress {
    /// `shown`: whether there are bars, because standard error is a terminal.
    pub(super) fn new(shown: bool) -> Self {
        Self { bars: MultiProgress::new(), shown }
    }

    /// A bar for work on a blob of this size.
    pub(super) fn bar(&self, work: &'static str, name: String, bytes: u64) -> Bar {
        if !self.shown {
            return Bar(ProgressBar::hidden());
        }
        let form = "{prefix:7} {msg:20} {bar:30} {bytes:>10} of {total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
        let style = ProgressStyle::with_template(form);
        let bar = ProgressBar::new(bytes).with_prefix(work).with_message(name);
        // The template is valid.
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// Prints a line on standard output, above the bars.
    pub(super) fn line(&self, line: &str) {
        // A closed output does not stop the work.
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    }

    /// Prints an error on standard error.
    pub(super) fn error(&self, line: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr(), "pounce: {line}");
        });
    }
}

impl Bar {
    pub(super) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `1.5 GiB`
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
