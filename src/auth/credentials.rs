//! The credentials of a request, and why they are refused.

use std::time::Duration;

/// The credentials of a request.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// None.
    None,
    /// A user's name and password.
    Password {
        /// The name.
        user: &'a str,
        /// The password.
        password: &'a [u8],
    },
    /// A token.
    Token(&'a str),
}

/// Why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// They are wrong or have expired.
    Invalid,
    /// There is no user of this name, which only the log says.
    UnknownUser,
    /// The user has another password, which only the log says.
    WrongPassword,
    /// They were not checked, because there were too many attempts. The client may try again after this time.
    TooManyAttempts(Duration),
    /// They were not checked, because their issuer, or the bucket, does not answer. The client may try again after this
    /// time.
    Unavailable(Duration),
}
