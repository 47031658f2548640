//! Errors at start: files and keys that cannot be used.

use std::path::PathBuf;

/// Why authentication cannot be set up. Each message names the setting.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read or created.
    #[error("{setting}: {}: {source}", path.display())]
    Read {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line of users is invalid.
    #[error("{origin}: line {line} {message}")]
    Line {
        /// The file or the setting.
        origin: String,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// The users in the configuration have no usable line.
    #[error(
        "auth.htpasswd.users: no line of it has a bcrypt hash, so that no client could log in; a shell or a compose \
         file may have eaten the $: put a line of `pounce htpasswd USER` into single quotes, with $$ in a compose file"
    )]
    NoUsers,
    /// A file has no keys.
    #[error("{setting}: {}: {message}", path.display())]
    Keys {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// A token cannot be signed.
    #[error("a token cannot be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}
