//! What `pounce check` found: a line each.

use std::process::ExitCode;

/// Counts what is wrong.
#[derive(Debug, Default)]
pub(super) struct Report {
    wrong: usize,
}

impl Report {
    /// Something works.
    #[expect(clippy::unused_self, reason = "beside `wrong`, it reads as what it is")]
    pub(super) fn right(&self, what: &str, how: &str) {
        println!("✓ {what}: {how}");
    }

    /// Something that need not matter.
    #[expect(clippy::unused_self, reason = "beside `wrong`, it reads as what it is")]
    pub(super) fn note(&self, what: &str, how: &str) {
        println!("! {what}: {how}");
    }

    /// Something does not, for this reason, and this is what to do about it.
    pub(super) fn wrong(&mut self, what: &str, why: &str, advice: &str) {
        self.wrong += 1;
        let advice = format!(". {advice}");
        println!("✗ {what}: {why}{}", advice.trim_end_matches([' ', '.']));
    }

    /// The exit status.
    pub(super) fn end(self) -> ExitCode {
        match self.wrong {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
