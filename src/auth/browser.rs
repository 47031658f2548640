//! How the users of browsers log in.

use super::access::Access;
use super::scheme::Scheme;

/// How the user of a browser logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrowserLogin {
    /// No user does: all may do the same.
    Needless,
    /// With a name and a password, or with keys of the bucket.
    Password,
    /// Only clients do, with tokens of a token server or of OIDC providers.
    Token,
}

impl BrowserLogin {
    /// How the user of a browser logs in.
    #[must_use]
    pub const fn of(access: &Access) -> Self {
        match &access.scheme {
            Scheme::Open(_) => Self::Needless,
            Scheme::Own { passwords: Some(_), .. } | Scheme::Own { bucket_keys: Some(_), .. } => Self::Password,
            Scheme::Own { .. } | Scheme::Token { .. } => Self::Token,
        }
    }
}
