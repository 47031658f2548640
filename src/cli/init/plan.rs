//! What a first configuration says.

use crate::config::RemoteUrl;

/// A first configuration.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) place: Place,
    /// The first one is the default upstream.
    pub(super) upstreams: Vec<RemoteUrl>,
    pub(super) visitors: Visitors,
}

/// Where blobs are stored.
#[derive(Debug)]
pub(super) enum Place {
    Folder(String),
    Bucket {
        name: String,
        endpoint: Endpoint,
        /// Those of the environment if there are none.
        keys: Option<Keys>,
    },
}

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `None` at AWS.
    pub(super) url: Option<String>,
    pub(super) region: String,
    /// Whether the bucket is in the path, because the host takes no further labels.
    pub(super) path_style: bool,
}

/// An access key, and its secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access: String,
    pub(super) secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

/// Which clients are let in.
#[derive(Debug)]
pub(super) struct Visitors {
    /// The user that may do everything.
    pub(super) user: Option<String>,
    /// Whether all clients may pull.
    pub(super) public: bool,
}
