//! Who is let in, by whatever way, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use super::passes::{Pass, Passes};
use super::passwords::Passwords;
use super::rules::Rules;
use super::tokens::Tokens;
use super::{AuthError, Challenge, Credentials, Identity, Realm, Refusal, Scope, Verdict, start};
use crate::config::{Auth, HostNames, Scheme, Secret};
use crate::oci::{Action, RepositoryName};
use crate::telemetry::Metrics;

/// Says who may do what.
#[derive(Debug)]
pub struct Access {
    how: How,
    rules: Rules,
}

#[derive(Debug)]
enum How {
    /// No client is asked, and all may do the same.
    Open(Vec<Action>),
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
    /// Reads what the configuration names. `secret` signs what replicas have to believe each other; `hosts` are those
    /// that stand before the names of upstreams' repositories.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn open(config: &Auth, secret: &Secret, hosts: &HostNames, metrics: &Arc<Metrics>) -> Result<Self, AuthError> {
        let rules = Rules::new(&config.rules, hosts);
        let how = match config.scheme {
            Scheme::Open => How::Open(config.without_login().to_vec()),
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
                tokens: Box::new(Tokens::open(&config.token, hosts)?),
                realm: config
                    .token
                    .realm
                    .as_ref()
                    .filter(|_| !config.token.is_beside())
                    .map(|realm| realm.as_url().to_string()),
                beside: config.token.path().to_owned(),
                service: config.token.service.clone().unwrap_or_default(),
            },
        };
        Ok(Self { how, rules })
    }

    /// Whether no client is asked to log in, because nothing could tell users apart.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.how, How::Open(_))
    }

    /// Whether no client is asked to log in, and all may do this.
    fn is_open_to(&self, action: Action) -> bool {
        matches!(&self.how, How::Open(actions) if actions.contains(&action))
    }

    /// How many users with passwords there are, where users have passwords.
    #[must_use]
    pub fn users(&self) -> Option<usize> {
        match &self.how {
            How::Htpasswd { passwords, .. } => Some(passwords.users()),
            How::Open(_) | How::Token { .. } => None,
        }
    }

    /// Whether anything is allowed to those who do not say who they are.
    #[must_use]
    pub fn admits_anonymous(&self) -> bool {
        self.is_open() || self.rules.admit_anonymous()
    }

    /// Who shows these credentials, where nothing has to be compared, and nothing is to be said against them.
    #[must_use]
    pub fn known(&self, shown: &Credentials<'_>, from: IpAddr) -> Option<Identity> {
        match (&self.how, shown) {
            (How::Open(_), _) | (_, Credentials::None) => Some(Identity::ANONYMOUS),
            (How::Htpasswd { passwords, .. }, Credentials::Password { user, password }) => {
                let name = passwords.remembered(user, password, from)?.ok()?;
                Some(Identity { user: Some(name), ..Identity::ANONYMOUS })
            }
            _ => None,
        }
    }

    /// Who shows these credentials, from this address.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn identify(&self, shown: Credentials<'_>, from: IpAddr) -> Result<Identity, Refusal> {
        let user = |user: Option<Arc<str>>, has_token| Identity { user, grants: None, has_token };
        match (&self.how, shown) {
            (How::Open(_), _) | (_, Credentials::None) => Ok(Identity::ANONYMOUS),
            (How::Htpasswd { passwords, .. }, Credentials::Password { user: name, password }) => {
                let name = passwords.verify(name, password, from).await?;
                Ok(user(Some(name), false))
            }
            (How::Htpasswd { passwords, passes: Some(passes), .. }, Credentials::Token(token)) => {
                let name = passes.read(token, passwords)?;
                Ok(user(name, true))
            }
            (How::Token { tokens, .. }, Credentials::Token(token)) => {
                let grants = tokens.verify(token)?;
                Ok(Identity { user: grants.user.clone(), grants: Some(grants), has_token: true })
            }
            (How::Htpasswd { .. } | How::Token { .. }, _) => Err(Refusal::Wrong),
        }
    }

    /// Whether a client may do something. `holds_pushed` says whether the repository holds pushed content, where that
    /// is known.
    #[must_use]
    pub fn judge(&self, who: &Identity, scope: Scope<'_>, holds_pushed: Option<bool>) -> Verdict {
        let known = who.user.is_some() || who.has_token;
        let told = |allowed| match (allowed, who.user.is_some(), &who.grants) {
            (true, ..) => Verdict::Allowed,
            // A token server may think better of it.
            (false, false, _) | (false, _, Some(_)) => Verdict::Unauthorized,
            (false, true, None) => Verdict::Denied,
        };
        match (&self.how, scope) {
            (How::Open(_), scope) => self.without_login(scope),
            (_, Scope::Login) if known => Verdict::Allowed,
            (_, Scope::Login) => Verdict::Unauthorized,
            (How::Token { .. }, Scope::Catalog) => {
                told(who.grants.as_ref().is_some_and(|grants| grants.allow_catalog()))
            }
            (How::Htpasswd { .. }, Scope::Catalog) => told(known || self.rules.admit_anonymous()),
            (_, Scope::Repository(name, action)) => self.in_repository(who, name, action, holds_pushed),
            (_, Scope::Mount { name, .. }) => self.in_repository(who, name, Action::Push, holds_pushed),
        }
    }

    /// What is allowed where no login could change it.
    fn without_login(&self, scope: Scope<'_>) -> Verdict {
        let needed = match scope {
            Scope::Login => return Verdict::Allowed,
            Scope::Catalog => Action::Pull,
            Scope::Repository(_, action) => action,
            Scope::Mount { .. } => Action::Push,
        };
        if self.is_open_to(needed) { Verdict::Allowed } else { Verdict::Denied }
    }

    fn in_repository(
        &self,
        who: &Identity,
        name: &RepositoryName,
        action: Action,
        holds_pushed: Option<bool>,
    ) -> Verdict {
        let by_rule = self.rules.allow(who.user.as_deref(), name, action, holds_pushed);
        // The token says what it is good for, and the rules may say less.
        let by_token = who.grants.as_ref().map(|it| it.allow(name, action));
        let is_somebody = who.user.is_some() || who.grants.is_some();
        match by_token {
            Some(false) => Verdict::Unauthorized,
            _ if by_rule.is_none() => Verdict::Depends,
            _ if by_rule == Some(true) || (is_somebody && self.rules.is_empty()) => Verdict::Allowed,
            None if !is_somebody => Verdict::Unauthorized,
            _ => Verdict::Denied,
        }
    }

    /// Whether a blob may become part of a repository on the strength of its digest alone, wherever it is: for those
    /// who may pull everything.
    #[must_use]
    pub fn may_mount_from_anywhere(&self, who: &Identity) -> bool {
        self.is_open_to(Action::Pull) || (who.user.is_some() && who.grants.is_none() && self.rules.is_empty())
    }

    /// Whether a repository is shown to a client that may see the catalog, as in [`judge`](Self::judge); `None`: it
    /// depends on what the repository holds.
    #[must_use]
    pub fn shows(&self, who: &Identity, name: &RepositoryName, holds_pushed: Option<bool>) -> Option<bool> {
        if self.is_open() || self.rules.is_empty() {
            return Some(self.shows_any(who));
        }
        let user = who.user.as_deref();
        self.rules.allow(user, name, Action::Pull, holds_pushed)
    }

    /// Whether a client that may see the catalog may pull from any repository at all, as far as the rules tell.
    #[must_use]
    pub fn shows_any(&self, who: &Identity) -> bool {
        self.is_open_to(Action::Pull)
            || (!self.is_open() && self.rules.is_empty())
            || self.rules.may_pull_somewhere(who.user.as_deref())
    }

    /// What a client has to do to be let in; nothing, where everybody is.
    #[must_use]
    pub fn challenge(&self) -> Option<Challenge<'_>> {
        match &self.how {
            How::Open(_) => None,
            How::Htpasswd { realm, passes: Some(_), .. } => {
                Some(Challenge::Bearer { realm: Realm::Own, service: realm })
            }
            How::Htpasswd { realm, .. } => Some(Challenge::Basic { realm }),
            How::Token { realm, beside, service, .. } => {
                Some(Challenge::Bearer { realm: realm.as_deref().map_or(Realm::Beside(beside), Realm::At), service })
            }
        }
    }

    /// A token for somebody, where pounce makes them itself.
    ///
    /// # Errors
    /// It cannot be signed.
    #[must_use]
    pub fn pass(&self, who: &Identity) -> Option<Result<Pass, AuthError>> {
        match &self.how {
            How::Htpasswd { passwords, passes: Some(passes), .. } => Some(passes.issue(who.user.as_deref(), passwords)),
            _ => None,
        }
    }
}
