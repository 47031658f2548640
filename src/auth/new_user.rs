//! New users: lines for an htpasswd file, and a first user if the file is missing. As in distribution, pounce creates
//! that file, and logs the password once.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::AuthError;
use crate::config::{ANONYMOUS, Htpasswd};

/// The longest name of a user, in bytes.
pub(super) const MAX_NAME: usize = 255;
/// distribution's name for the first user.
const USER: &str = "docker";

/// A random password: 32 letters and digits, 160 bits.
///
/// # Errors
/// The system gives no random numbers.
pub fn random_password() -> Result<String, AuthError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| AuthError::Random(error.to_string()))?;
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    Ok(bytes.map(letter).into_iter().collect())
}

/// Why a user is invalid.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name would not be parsed from the line again.
    #[error(
        "the name of a user has from 1 to 255 bytes and no colons, commas, blanks or control characters, does not begin \
         with #, and is not anonymous, which in auth.rules means clients without a login"
    )]
    Name,
    /// bcrypt does not take the password.
    #[error("a password has from 1 to 72 bytes, which is what bcrypt takes, and no NUL")]
    Password,
    /// The password was typed differently.
    #[error("the two passwords differ")]
    Differs,
    /// bcrypt fails.
    #[error(transparent)]
    Bcrypt(#[from] bcrypt::BcryptError),
}

/// Checks the name of a user.
///
/// # Errors
/// The name is invalid.
pub fn check_user(user: &str) -> Result<(), UserError> {
    // A byte order mark at the beginning of a line is no part of the name.
    let ends_it = |c: char| c.is_control() || c.is_whitespace() || ":,\u{feff}".contains(c);
    if user.is_empty() || user.len() > MAX_NAME || user.starts_with('#') || user == ANONYMOUS || user.contains(ends_it)
    {
        return Err(UserError::Name);
    }
    Ok(())
}

/// A line of an htpasswd file.
///
/// # Errors
/// See [`UserError`].
pub fn htpasswd_line(user: &str, password: &str, cost: u32) -> Result<String, UserError> {
    check_user(user)?;
    if !(1..=72).contains(&password.len()) || password.contains('\0') {
        return Err(UserError::Password);
    }
    Ok(format!("{user}:{}", bcrypt::hash(password, cost)?))
}

/// Creates the file if it is missing, unless the configuration itself has users.
pub(super) fn first_user(config: &Htpasswd) -> Result<(), AuthError> {
    match &config.path {
        Some(path) if config.users.is_none() => make(path),
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<(), AuthError> {
    let wrong = |source| AuthError::Read { setting: "auth.htpasswd.path", path: path.to_owned(), source };
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    let password = random_password()?;
    let line =
        htpasswd_line(USER, &password, bcrypt::DEFAULT_COST).map_err(|error| wrong(std::io::Error::other(error)))?;
    // Atomically, because a file without users would lock all clients out.
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
    writeln!(file, "{line}").map_err(wrong)?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(|error| wrong(error.error))?,
    };
    tracing::warn!(
        user = USER,
        password,
        "auth: created {}, which was missing, with this user; the password is not logged again",
        path.display()
    );
    Ok(())
}
