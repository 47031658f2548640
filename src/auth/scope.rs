//! What a request needs.

use std::fmt;

use crate::oci::{Action, RepositoryName};

/// What a request needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// To be somebody (end-1).
    Login,
    /// To see which repositories there are.
    Catalog,
    /// To do something in a repository.
    Repository(&'a RepositoryName, Action),
    /// To push to a repository, and to pull from another, if a client may (end-11).
    Mount {
        /// Where the blob goes.
        name: &'a RepositoryName,
        /// Where it is.
        from: Option<&'a RepositoryName>,
    },
}

impl fmt::Display for Scope<'_> {
    /// As clients ask a token server for it: <https://distribution.github.io/distribution/spec/auth/scope/>. Empty for
    /// [`Login`](Self::Login). Who pushes also looks at what is there already.
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
