//! Who is asking, and may they.
//!
//! [`Access`] answers both, in the spec's terms and without HTTP: [`identify`](Access::identify) makes an
//! [`Identity`] of the [`Credentials`] that a client shows, [`judge`](Access::judge) holds it against the
//! [`Scope`] of a request. What was verified once is remembered for some minutes, so that a warm request
//! costs a digest of its credentials.

mod keys;
mod passes;
mod passwords;
mod rules;
mod scope;
mod start;
mod tokens;
mod users;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Action, Auth, Scheme, Secret};
use crate::oci::RepositoryName;
use crate::telemetry::Metrics;

use passes::Passes;
use passwords::Passwords;
use rules::Rules;
use tokens::{Grants, Tokens};

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
    const ANONYMOUS: Self = Self {
        user: None,
        grants: None,
        has_token: false,
    };

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
    /// They were not looked at: there were too many that had to be. With the time after which it is
    /// worth trying again.
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

/// Says who may do what.
#[derive(Debug)]
pub struct Access {
    how: How,
    rules: Rules,
}

#[derive(Debug)]
enum How {
    Open,
    Htpasswd {
        realm: String,
        passwords: Box<Passwords>,
        /// Where anonymous clients are let in.
        passes: Option<Box<Passes>>,
    },
    Token {
        tokens: Box<Tokens>,
        realm: Option<String>,
        beside: String,
        service: String,
    },
}

impl Access {
    /// Reads what the configuration names. `secret` signs what replicas have to believe each other.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn open(config: &Auth, secret: &Secret, metrics: &Arc<Metrics>) -> Result<Self, AuthError> {
        let rules = Rules::new(&config.rules);
        let how = match config.scheme {
            Scheme::Open => How::Open,
            Scheme::Htpasswd => {
                start::first_user(&config.htpasswd)?;
                let passes = rules.admit_anonymous().then(|| Passes::new(secret));
                How::Htpasswd {
                    realm: config.htpasswd.realm().to_owned(),
                    passwords: Box::new(Passwords::open(&config.htpasswd, Arc::clone(metrics))?),
                    passes: passes.map(Box::new),
                }
            }
            Scheme::Token => How::Token {
                tokens: Box::new(Tokens::open(&config.token)?),
                realm: config
                    .token
                    .realm
                    .as_ref()
                    .filter(|_| !config.token.autoredirect)
                    .map(|realm| realm.as_url().to_string()),
                beside: config.token.path().to_owned(),
                service: config.token.service.clone().unwrap_or_default(),
            },
        };
        Ok(Self { how, rules })
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.how, How::Open)
    }

    /// Who shows these credentials, from this address.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn identify(
        &self,
        shown: Credentials<'_>,
        from: IpAddr,
    ) -> Result<Identity, Refusal> {
        let user = |user: Option<Arc<str>>, has_token| Identity {
            user,
            grants: None,
            has_token,
        };
        match (&self.how, shown) {
            (How::Open, _) | (_, Credentials::None) => Ok(Identity::ANONYMOUS),
            (
                How::Htpasswd { passwords, .. },
                Credentials::Password {
                    user: name,
                    password,
                },
            ) => {
                let name = passwords.verify(name, password, from).await?;
                Ok(user(Some(name), false))
            }
            (
                How::Htpasswd {
                    passwords,
                    passes: Some(passes),
                    ..
                },
                Credentials::Token(token),
            ) => {
                let name = passes.read(token, passwords)?;
                Ok(user(name, true))
            }
            (How::Token { tokens, .. }, Credentials::Token(token)) => {
                let grants = tokens.verify(token)?;
                Ok(Identity {
                    user: grants.user.clone(),
                    grants: Some(grants),
                    has_token: true,
                })
            }
            (How::Htpasswd { .. } | How::Token { .. }, _) => Err(Refusal::Wrong),
        }
    }

    /// Whether somebody may do something.
    #[must_use]
    pub fn judge(&self, who: &Identity, scope: Scope<'_>) -> Verdict {
        let known = who.user.is_some() || who.has_token;
        let told = |allowed| match (allowed, who.user.is_some(), &who.grants) {
            (true, ..) => Verdict::Allowed,
            // A token server may think better of it.
            (false, false, _) | (false, _, Some(_)) => Verdict::Unauthorized,
            (false, true, None) => Verdict::Denied,
        };
        match (&self.how, scope) {
            (How::Open, _) => Verdict::Allowed,
            (_, Scope::Login) if known => Verdict::Allowed,
            (_, Scope::Login) => Verdict::Unauthorized,
            (How::Token { .. }, Scope::Catalog) => told(
                who.grants
                    .as_ref()
                    .is_some_and(|grants| grants.allow_catalog()),
            ),
            (How::Htpasswd { .. }, Scope::Catalog) => told(known || self.rules.admit_anonymous()),
            (_, Scope::Repository(name, action)) => self.in_repository(who, name, action),
            (_, Scope::Mount { name, .. }) => self.in_repository(who, name, Action::Push),
        }
    }

    fn in_repository(&self, who: &Identity, name: &RepositoryName, action: Action) -> Verdict {
        let by_rule = self.rules.allow(who.user.as_deref(), name, action);
        // The token says what it is good for, and the rules may say less.
        let by_token = who.grants.as_ref().map(|it| it.allow(name, action));
        let is_somebody = who.user.is_some() || who.grants.is_some();
        match by_token {
            Some(false) => Verdict::Unauthorized,
            _ if by_rule || (is_somebody && self.rules.is_empty()) => Verdict::Allowed,
            None if !is_somebody => Verdict::Unauthorized,
            _ => Verdict::Denied,
        }
    }

    /// Whether a blob may become part of a repository on the strength of its digest alone, wherever it is:
    /// for those who may pull everything.
    #[must_use]
    pub fn may_mount_from_anywhere(&self, who: &Identity) -> bool {
        self.is_open() || (who.user.is_some() && who.grants.is_none() && self.rules.is_empty())
    }

    /// Whether a repository is shown to somebody who may see the catalog.
    #[must_use]
    pub fn shows(&self, who: &Identity, name: &RepositoryName) -> bool {
        self.is_open()
            || self.rules.is_empty()
            || self.rules.allow(who.user.as_deref(), name, Action::Pull)
    }

    /// What a client has to do to be let in; nothing, where everybody is.
    #[must_use]
    pub fn challenge(&self) -> Option<Challenge<'_>> {
        match &self.how {
            How::Open => None,
            How::Htpasswd {
                realm,
                passes: Some(_),
                ..
            } => Some(Challenge::Bearer {
                realm: Realm::Own,
                service: realm,
            }),
            How::Htpasswd { realm, .. } => Some(Challenge::Basic { realm }),
            How::Token {
                realm,
                beside,
                service,
                ..
            } => Some(Challenge::Bearer {
                realm: realm.as_deref().map_or(Realm::Beside(beside), Realm::At),
                service,
            }),
        }
    }

    /// A token for somebody, where pounce makes them itself.
    ///
    /// # Errors
    /// It cannot be signed.
    #[must_use]
    pub fn pass(&self, who: &Identity) -> Option<Result<Pass, AuthError>> {
        match &self.how {
            How::Htpasswd {
                passwords,
                passes: Some(passes),
                ..
            } => Some(passes.issue(who.user.as_deref(), passwords)),
            _ => None,
        }
    }
}
