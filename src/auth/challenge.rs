//! How a client has to authenticate.

/// How a client has to authenticate (`WWW-Authenticate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// With a password.
    Basic {
        /// The name of what the password is for.
        realm: &'a str,
    },
    /// With a token.
    Bearer {
        /// The server that issues tokens.
        realm: Realm<'a>,
        /// The registry's name there.
        service: &'a str,
    },
}

/// The server that issues tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm<'a> {
    /// This URL.
    At(&'a str),
    /// This path at pounce's own host.
    Beside(&'a str),
    /// pounce itself.
    Own,
}
