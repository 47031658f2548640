//! The authenticated client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::rules::Client;
use super::scope::Scope;
use super::tokens::Grants;
use crate::config::SshKey;
use crate::oci::Action;

/// The authenticated client of a request, which may be anonymous.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) user: Option<Arc<str>>,
    /// The rights in a token server's token.
    pub(super) grants: Option<Arc<Grants>>,
    /// Whether the client has a token, be it an anonymous one.
    pub(super) has_token: bool,
    /// The login with something else than a password.
    pub(super) login: Option<Login>,
    /// The client's address, for rules with networks; `None` where it is not certain.
    pub(super) address: Option<IpAddr>,
}

/// A login for which a token is other than for a password.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// With Ollama's key, in the request for a token.
    Key(Arc<KeyLogin>),
    /// With a token of an OIDC provider.
    Oidc(Arc<OidcLogin>),
    /// With keys of the bucket, or with a token or a session for them.
    Bucket(Arc<BucketLogin>),
}

/// A client with keys of the bucket.
#[derive(Clone, Debug)]
pub(super) struct BucketLogin {
    /// The id, behind `bucket:`.
    pub(super) user: Arc<str>,
    /// What the keys may do in the bucket: the client may do no more.
    pub(super) actions: Vec<Action>,
    /// A digest of where the bucket is, and its name.
    pub(super) bound: [u8; 32],
    /// Until when that is believed, in seconds since 1970.
    pub(super) expires: u64,
}

impl BucketLogin {
    /// The actions, for a token: with commas.
    pub(super) fn written_actions(&self) -> String {
        self.actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(",")
    }

    /// The actions as a token has them.
    pub(super) fn read_actions(written: &str) -> Vec<Action> {
        written.split(',').filter_map(|action| action.parse().ok()).collect()
    }
}

/// The client of a verified token of an OIDC provider.
#[derive(Clone, Debug)]
pub(super) struct OidcLogin {
    /// With the provider's name.
    pub(super) user: Arc<str>,
    pub(super) provider: Arc<str>,
    /// A digest of the provider's configuration.
    pub(super) bound: [u8; 32],
    /// How long pounce's token for it is good.
    pub(super) life: Duration,
    /// When the provider's token expires, in seconds since 1970.
    pub(super) expires: u64,
}

/// What a token for a key is good for.
#[derive(Clone, Debug)]
pub(super) struct KeyLogin {
    pub(super) key: SshKey,
    pub(super) scopes: String,
    /// When the request cannot be repeated any more, in seconds since 1970.
    pub(super) expires: u64,
}

impl Identity {
    /// A client without credentials, from no network.
    pub const ANONYMOUS: Self = Self { user: None, grants: None, has_token: false, login: None, address: None };

    /// The same client, from this address.
    #[must_use]
    pub fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// A client without credentials, from the same address.
    #[must_use]
    pub const fn without_login(&self) -> Self {
        Self { address: self.address, ..Self::ANONYMOUS }
    }

    /// The client with these keys of the bucket.
    pub(super) fn of_bucket(login: Arc<BucketLogin>) -> Self {
        Self { user: Some(Arc::clone(&login.user)), login: Some(Login::Bucket(login)), ..Self::ANONYMOUS }
    }

    /// Whether the keys of the client, if it has any of the bucket, may do this.
    pub(super) fn keys_allow(&self, action: Action) -> bool {
        match &self.login {
            Some(Login::Bucket(login)) => login.actions.contains(&action),
            Some(Login::Key(_) | Login::Oidc(_)) | None => true,
        }
    }

    /// Whether the client has keys of the bucket that may not do what this needs there.
    #[must_use]
    pub fn keys_forbid(&self, scope: Scope<'_>) -> bool {
        match scope {
            Scope::Login | Scope::Catalog => false,
            Scope::Repository(_, action) => !self.keys_allow(action),
            Scope::Mount { .. } => !self.keys_allow(Action::Push),
        }
    }

    /// The client, for the rules.
    pub(super) fn client(&self) -> Client<'_> {
        Client { user: self.user.as_deref(), address: self.address }
    }

    /// The user's name, if the client is not anonymous.
    #[must_use]
    pub const fn user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    /// Whether the client has a token.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        self.has_token
    }
}
