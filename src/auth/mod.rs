//! Who is asking, and may they.
//!
//! [`Access`] answers both, in the spec's terms and without HTTP: [`identify`](Access::identify) makes an [`Identity`]
//! of the [`Credentials`] that a client shows, [`judge`](Access::judge) holds it against the [`Scope`] of a request.
//! What was verified once is remembered for some minutes, so that a warm request costs a digest of its credentials.

mod access;
mod keys;
mod passes;
mod passwords;
mod rules;
mod scope;
mod start;
mod tokens;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokens::Grants;

pub use access::Access;
pub use passes::Pass;
pub use scope::Scope;
pub use start::{UserError, check_user, line, random_password};

/// Why nobody can be let in, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("{setting}: {}: {source}", path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line of users is not one.
    #[error("{origin}: line {line} {message}")]
    Line {
        /// The file or the setting.
        origin: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A file has no keys.
    #[error("{setting}: {}: {message}", path.display())]
    Keys {
        /// The setting that names it.
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

/// What a client shows.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// Nothing.
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

/// Who asks.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Option<Arc<str>>,
    grants: Option<Arc<Grants>>,
    /// It came by a token, be it an anonymous one.
    has_token: bool,
}

impl Identity {
    /// Somebody who has not said who they are.
    pub const ANONYMOUS: Self = Self { user: None, grants: None, has_token: false };

    /// The user's name, if it is somebody.
    #[must_use]
    pub const fn user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    /// Whether it came by a token.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        self.has_token
    }
}

/// Why credentials are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They are not right, or not any more.
    Wrong,
    /// They were not looked at: there were too many that had to be. With the time after which it is worth trying again.
    TooMany(Duration),
}

/// Whether a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Allowed,
    /// It may be, once the client says who it is, or gets a token for it.
    Unauthorized,
    /// It is not, for this user.
    Denied,
    /// That depends on whether the repository holds pushed content, which has to be found out.
    Depends,
}

/// What a client has to do to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// Send a password.
    Basic {
        /// What for.
        realm: &'a str,
    },
    /// Get a token.
    Bearer {
        /// Where.
        realm: Realm<'a>,
        /// What for.
        service: &'a str,
    },
}

/// Where clients get tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm<'a> {
    /// At this URL.
    At(&'a str),
    /// At this path of the host that they know pounce by.
    Beside(&'a str),
    /// From pounce itself.
    Own,
}
