//! The results of `pounce check`, a line each.

use std::process::ExitCode;

/// Prints results, and counts failures.
#[derive(Debug, Default)]
pub(super) struct Report {
    failures: usize,
}

impl Report {
    /// A check that passed.
    #[expect(clippy::unused_self, reason = "beside `failed`, it reads as what it is")]
    pub(super) fn passed(&self, what: &str, how: &str) {
        println!("✓ {what}: {how}");
    }

    /// A result that need not matter.
    #[expect(clippy::unused_self, reason = "beside `failed`, it reads as what it is")]
    pub(super) fn note(&self, what: &str, how: &str) {
        println!("! {what}: {how}");
    }

    /// A check that failed, with the cause, and what to do about it.
    pub(super) fn failed(&mut self, what: &str, why: &str, advice: &str) {
        self.failures += 1;
        let advice = format!(". {advice}");
        println!("✗ {what}: {why}{}", advice.trim_end_matches([' ', '.']));
    }

    /// The exit status.
    pub(super) fn end(self) -> ExitCode {
        match self.failures {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
