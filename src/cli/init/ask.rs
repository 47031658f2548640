//! Questions on a terminal.

use std::error::Error;
use std::io::{BufRead, Read, Write};

use crate::cli::{password, print};

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 4096;

/// Asks until `parse` takes the answer; an empty one is the default. Errors are shown, and the question is repeated.
///
/// # Errors
/// The input ends, or cannot be read.
pub(super) fn ask<T>(
    question: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Box<dyn Error>> {
    loop {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        let _ = write!(std::io::stderr(), "{question}{shown}: ");
        let mut line = String::new();
        if std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut line)? == 0 {
            return Err("the input ended before the last question, and nothing was written".into());
        }
        let answer = line.trim();
        match parse(if answer.is_empty() { default } else { answer }) {
            Ok(answer) => return Ok(answer),
            Err(why) => print::note(format_args!("  {why}")),
        }
    }
}

/// Asks for a secret, which is not shown.
///
/// # Errors
/// It cannot be read.
pub(super) fn ask_secret(question: &str) -> std::io::Result<String> {
    password::typed(&format!("{question}: "))
}
