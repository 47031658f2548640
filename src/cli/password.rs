//! Passwords of new users: typed twice, read from standard input, or generated.

use std::error::Error;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};

use super::signals;
use crate::auth::{self, UserError};

/// The longest input that is read as a password, in bytes; bcrypt takes 72.
const MAX_INPUT: u64 = 1024;

/// Where a password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// It is generated, and printed once on standard error.
    Generated,
    /// The first line of standard input.
    Stdin,
    /// The terminal, or the first line of a standard input that is none.
    Typed,
    /// The terminal, where an empty line asks for a generated one.
    TypedOrGenerated,
}

/// The password of a new user.
///
/// # Errors
/// It cannot be read, was typed differently, or the system gives no random numbers.
pub(super) fn read(user: &str, source: PasswordSource) -> Result<String, Box<dyn Error>> {
    match source {
        PasswordSource::Generated => generate(user),
        PasswordSource::Stdin => first_line(),
        PasswordSource::Typed if !io::stdin().is_terminal() => first_line(),
        PasswordSource::Typed => type_twice(&format!("Password of {user}: ")),
        PasswordSource::TypedOrGenerated => {
            match type_twice(&format!("Password of {user} (empty: one is generated): "))? {
                typed if typed.is_empty() => generate(user),
                typed => Ok(typed),
            }
        }
    }
}

fn generate(user: &str) -> Result<String, Box<dyn Error>> {
    let password = auth::random_password()?;
    // Nothing is changed if it cannot be shown.
    writeln!(io::stderr(), "password of {user}: {password}").map_err(|error| format!("standard error: {error}"))?;
    Ok(password)
}

fn type_twice(prompt: &str) -> Result<String, Box<dyn Error>> {
    let password = typed(prompt)?;
    if !password.is_empty() && password != typed("Again: ")? {
        return Err(Box::new(UserError::Differs));
    }
    Ok(password)
}

/// A password that is there already: typed once, or the first line of a standard input that is no terminal.
///
/// # Errors
/// It cannot be read.
pub(super) fn entered(prompt: &str) -> Result<String, Box<dyn Error>> {
    if io::stdin().is_terminal() { Ok(typed(prompt)?) } else { first_line() }
}

/// What is typed, and not shown.
///
/// # Errors
/// It cannot be read.
pub(super) fn typed(prompt: &str) -> io::Result<String> {
    signals::show_input_after_interrupt()?;
    rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::other("the input ended before the password, and nothing was written"),
        // Ctrl-C was read as a byte. The terminal is as it was before, and the thread that waits for SIGINT may be late.
        ErrorKind::Interrupted => signals::end_interrupted(),
        _ => error,
    })
}

fn first_line() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_INPUT).read_line(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => io::Error::other("the password on standard input is not UTF-8"),
        _ => error,
    })?;
    // `echo` adds a newline.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
