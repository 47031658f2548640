//! The first user, where an htpasswd file is missing: as distribution does, one is made, and the password
//! said once.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::AuthError;
use crate::config::Htpasswd;

/// distribution's name for that user.
const USER: &str = "docker";

/// A password that nobody guesses, of letters and digits: 32 characters, some 160 bits.
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

/// A line of an htpasswd file.
///
/// # Errors
/// The password is longer than bcrypt takes, has a NUL in it, or the cost is not one.
pub fn line(user: &str, password: &[u8], cost: u32) -> Result<String, bcrypt::BcryptError> {
    let hash = bcrypt::non_truncating_hash(password, cost)?;
    Ok(format!("{user}:{hash}"))
}

/// Makes the file if it is missing, and is the only place where users are named.
pub(super) fn first_user(config: &Htpasswd) -> Result<(), AuthError> {
    match &config.path {
        Some(path) if config.users.is_none() => make(path),
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<(), AuthError> {
    let wrong = |source| AuthError::Read {
        setting: "auth.htpasswd.path",
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(wrong)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(wrong)?,
    };
    let password = random_password()?;
    let line = line(USER, password.as_bytes(), bcrypt::DEFAULT_COST)
        .map_err(|error| wrong(std::io::Error::other(error)))?;
    writeln!(file, "{line}").map_err(wrong)?;
    tracing::warn!(
        user = USER,
        password,
        "{} was missing: it was made with this user. The password is not said again",
        path.display()
    );
    Ok(())
}
