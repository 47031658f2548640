//! The output of commands that take long: progress bars on a terminal, lines every ten seconds elsewhere, and results.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::AbortHandle;

/// How often a line tells of the progress where there are no bars.
const LINES: Duration = Duration::from_secs(10);
/// How often a bar is drawn.
const TICK: Duration = Duration::from_millis(200);
/// A blob's digest, and an image's name, in a bar.
const NAME: usize = 28;

/// All bars.
pub(super) struct Progress {
    bars: MultiProgress,
    shown: bool,
}

/// The bar of one blob, which is removed on drop.
pub(super) struct Bar {
    bar: ProgressBar,
    tally: Arc<Tally>,
}

/// The progress of an image; dropping it ends its bar and its lines.
pub(super) struct Total {
    bar: ProgressBar,
    tally: Arc<Tally>,
    lines: Option<AbortHandle>,
}

/// Progress of work of unknown size; dropping it ends its line.
pub(super) struct Watched {
    bar: ProgressBar,
    lines: AbortHandle,
}

/// What came of an image's blobs.
struct Tally {
    bytes: AtomicU64,
    blobs: AtomicU64,
    all_bytes: u64,
    all_blobs: u64,
    /// The bar of the image.
    bar: ProgressBar,
}

impl Progress {
    /// `shown`: whether there are bars, because standard error is a terminal.
    pub(super) fn new(shown: bool) -> Self {
        Self { bars: MultiProgress::new(), shown }
    }

    /// The progress of work on all blobs of an image, which have these sizes in bytes. Call it in a runtime.
    pub(super) fn total(&self, work: &'static str, image: &impl Display, sizes: impl Iterator<Item = u64>) -> Total {
        let (mut all_bytes, mut all_blobs) = (0_u64, 0);
        for size in sizes {
            all_bytes = all_bytes.saturating_add(size);
            all_blobs += 1;
        }
        let name = image.to_string();
        let bar = self.new_bar(work, shortened(&name), all_bytes);
        let tally = Tally { bytes: 0.into(), blobs: 0.into(), all_bytes, all_blobs, bar: bar.clone() };
        let tally = Arc::new(tally);
        let lines = (!self.shown).then(|| tokio::spawn(tell(work, name, Arc::clone(&tally))).abort_handle());
        Total { bar, tally, lines }
    }

    /// A bar for work on a blob of this size, which is one of `total`.
    pub(super) fn bar(&self, work: &'static str, name: String, bytes: u64, total: &Total) -> Bar {
        Bar { bar: self.new_bar(work, name, bytes), tally: Arc::clone(&total.tally) }
    }

    /// Tells how far work is, by what `describe` says, as long as the returned value lives. Call it in a runtime.
    pub(super) fn watch(&self, describe: impl Fn() -> String + Send + 'static) -> Watched {
        let bar = if self.shown { self.bars.add(ProgressBar::new_spinner()) } else { ProgressBar::hidden() };
        let (own, shown) = (bar.clone(), self.shown);
        let lines = tokio::spawn(async move {
            loop {
                tokio::time::sleep(if shown { TICK } else { LINES }).await;
                if shown {
                    own.set_message(describe());
                    own.tick();
                } else {
                    // A closed output does not stop the work.
                    let _ = writeln!(std::io::stderr(), "{}", describe());
                }
            }
        });
        Watched { bar, lines: lines.abort_handle() }
    }

    fn new_bar(&self, work: &'static str, name: String, bytes: u64) -> ProgressBar {
        if !self.shown {
            // It counts, and is not drawn.
            return ProgressBar::hidden();
        }
        let form = "{prefix:7} {msg:28} {bar:24} {bytes:>10} of {total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
        let style = ProgressStyle::with_template(form);
        let bar = ProgressBar::new(bytes).with_prefix(work).with_message(name);
        // The template is valid.
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(TICK);
        bar
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
    /// So many bytes of the blob came; fewer than before after a break.
    pub(super) fn at(&self, bytes: u64) {
        let before = self.bar.position();
        self.bar.set_position(bytes);
        self.tally.add(bytes.saturating_sub(before));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Total {
    /// The work on a blob ended; `bar` told of its bytes, if any came.
    pub(super) fn ended(&self, size: u64, bar: Option<&Bar>) {
        let counted = bar.map_or(0, |bar| bar.bar.position());
        self.tally.add(size.saturating_sub(counted));
        self.tally.blobs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.lines.abort();
        self.bar.finish_and_clear();
    }
}

impl Drop for Total {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some(lines) = &self.lines {
            lines.abort();
        }
    }
}

impl Tally {
    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bar.inc(bytes);
    }
}

/// Prints a line every ten seconds.
async fn tell(work: &'static str, image: String, tally: Arc<Tally>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(LINES).await;
        let now = tally.bytes.load(Ordering::Relaxed);
        let line = described(work, &image, &tally, now.saturating_sub(before));
        before = now;
        // A closed output does not stop the work.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// `ghcr.io/org/app:1.2: copying: 3 of 9 blobs, 1.2 GiB of 4 GiB, 120 MiB/s`
fn described(work: &str, image: &str, tally: &Tally, in_ten_seconds: u64) -> String {
    let blobs = tally.blobs.load(Ordering::Relaxed);
    let (now, all) = (bytes(tally.bytes.load(Ordering::Relaxed)), bytes(tally.all_bytes));
    let rate = bytes(in_ten_seconds / LINES.as_secs());
    format!("{image}: {work}: {blobs} of {} blobs, {now} of {all}, {rate}/s", tally.all_blobs)
}

/// The end of a long name, which says more than its begin.
fn shortened(name: &str) -> String {
    let len = name.chars().count();
    if len <= NAME { name.to_owned() } else { format!("…{}", name.chars().skip(len - NAME + 1).collect::<String>()) }
}

/// `1.5 GiB`
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_of_an_image_are_counted_once() {
        let progress = Progress::new(false);
        let total = progress.total("copying", &"ghcr.io/org/app:1.2", [3 << 20, 1 << 20].into_iter());
        let bar = progress.bar("copying", "sha256:1".to_owned(), 3 << 20, &total);
        bar.at(1 << 20);
        bar.at(2 << 20);
        let line = |rate| described("copying", "ghcr.io/org/app:1.2", &total.tally, rate);
        let said = "ghcr.io/org/app:1.2: copying: 0 of 2 blobs, 2.00 MiB of 4.00 MiB, 1.00 MiB/s";
        assert_eq!(line(10 << 20), said);
        total.ended(3 << 20, Some(&bar));
        // It was there already.
        total.ended(1 << 20, None);
        assert_eq!(line(0), "ghcr.io/org/app:1.2: copying: 2 of 2 blobs, 4.00 MiB of 4.00 MiB, 0 B/s");
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(shortened("ghcr.io/org/app:1.2"), "ghcr.io/org/app:1.2");
        assert_eq!(shortened(&format!("{}:latest", "a".repeat(100))).chars().count(), NAME);
        assert!(shortened(&format!("{}:latest", "a".repeat(100))).ends_with("aaa:latest"));
    }
}
