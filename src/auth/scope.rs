//! The rights that a request needs.

use std::fmt;

use crate::oci::{Action, RepositoryName};

/// The rights that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// To be authenticated (end-1).
    Login,
    /// To list repositories.
    Catalog,
    /// An action in a repository.
    Repository(&'a RepositoryName, Action),
    /// To push to a repository; and to pull from another one, without which the mount becomes an upload (end-11).
    Mount {
        /// The target repository.
        name: &'a RepositoryName,
        /// The source repository.
        from: Option<&'a RepositoryName>,
    },
}

impl fmt::Display for Scope<'_> {
    /// As clients ask a token server for it: <https://distribution.github.io/distribution/spec/auth/scope/>. Empty for
    /// [`Login`](Self::Login). A push includes a pull, because clients check which blobs are there already.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => Ok(()),
            Self::Catalog => f.write_str("registry:catalog:*"),
            Self::Repository(name, Action::Push) | Self::Mount { name, from: None } => {
                write!(f, "repository:{name}:pull,push")
            }
            Self::Repository(name, action) => write!(f, "repository:{name}:{}", action.as_str()),
            Self::Mount { name, from: Some(from) } => write!(f, "repository:{name}:pull,push repository:{from}:pull"),
        }
    }
}
