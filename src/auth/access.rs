//! Authentication by the configured scheme, and authorization.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::bucket_keys::{self, KeyVerifier};
use super::challenge::{Challenge, Realm};
use super::credentials::{Credentials, CredentialsError};
use super::error::AuthError;
use super::identity::{Identity, KeyLogin, Login, OidcLogin};
use super::ollama_keys::{OllamaKeyError, OllamaLogin, SKEW};
use super::rules::Rules;
use super::scheme::Scheme;
use super::scope::Scope;
use super::sessions::Session;
use super::token_issuer::{IssuedToken, Known};
use crate::config::{Auth, HostNames, Secret};
use crate::oci::{Action, RepositoryName};
use crate::telemetry::Metrics;

/// Authenticates and authorizes clients.
#[derive(Debug)]
pub struct Access {
    pub(super) scheme: Scheme,
    pub(super) rules: Rules,
}

/// Whether a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Allowed,
    /// It may be, once the client authenticates or gets a token for it.
    Unauthorized,
    /// It is not, for this user.
    Denied,
    /// It depends on whether the repository holds pushed content.
    Depends,
}

impl Access {
    /// Reads the files that the configuration names. `secret` signs the tokens that pounce issues; `hosts` are those of
    /// upstreams, as the first components of names; `verifier` is for `auth.bucketkeys`, and without it, no keys of the
    /// bucket are good. What was counted and found out at `before`, which this one replaces, still counts.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn open(
        config: &Auth,
        secret: &Secret,
        hosts: &HostNames,
        verifier: Option<Arc<dyn KeyVerifier>>,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, AuthError> {
        let rules = Rules::new(&config.rules, hosts, config.has_kinds_of_users());
        let scheme =
            Scheme::open(config, secret, &rules, hosts, verifier, metrics, before.map(|access| &access.scheme))?;
        Ok(Self { scheme, rules })
    }

    /// Whether no client can log in.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.scheme, Scheme::Open(_))
    }

    /// Whether no client can log in, and all may do this.
    fn is_open_to(&self, action: Action) -> bool {
        matches!(&self.scheme, Scheme::Open(actions) if actions.contains(&action))
    }

    /// The number of users with passwords; `None` with other schemes.
    #[must_use]
    pub fn users(&self) -> Option<usize> {
        match &self.scheme {
            Scheme::Own { passwords, .. } => passwords.as_ref().map(|passwords| passwords.users()),
            Scheme::Open(_) | Scheme::Token { .. } => None,
        }
    }

    /// Lines of users that cannot log in, because their hash is not bcrypt's: `FILE: line 3`. Empty if there are none.
    #[must_use]
    pub fn unusable_lines(&self) -> Vec<String> {
        match &self.scheme {
            Scheme::Own { passwords, .. } => {
                passwords.as_ref().map(|passwords| passwords.unusable_lines()).unwrap_or_default()
            }
            Scheme::Open(_) | Scheme::Token { .. } => Vec::new(),
        }
    }

    /// Whether rules ask from which network a client comes.
    #[must_use]
    pub fn looks_at_networks(&self) -> bool {
        self.rules.name_networks()
    }

    /// Whether anything is allowed to anonymous clients.
    #[must_use]
    pub fn admits_anonymous(&self) -> bool {
        self.is_open() || self.rules.admit_anonymous()
    }

    /// The client with these credentials, from this address, if that is cached. `None` also for refused credentials.
    #[must_use]
    pub fn authenticate_cached(&self, credentials: &Credentials<'_>, from: IpAddr) -> Option<Identity> {
        if let Credentials::Password { user, password } = credentials
            && let Some(keys) = self.scheme.bucket_keys_of(user)
        {
            return Some(Identity::of_bucket(keys.verify_cached(user, password, from)?.ok()?));
        }
        match (&self.scheme, credentials) {
            (Scheme::Open(_), _) | (_, Credentials::None) => Some(Identity::ANONYMOUS),
            (Scheme::Own { oidc, .. }, Credentials::Password { user, password }) if oidc.is_provider(user) => {
                Some(of_oidc(oidc.verify_cached(user, password, from)?))
            }
            (Scheme::Own { passwords: Some(passwords), .. }, Credentials::Password { user, password }) => {
                let name = passwords.verify_cached(user, password, from)?.ok()?;
                Some(Identity { user: Some(name), ..Identity::ANONYMOUS })
            }
            _ => None,
        }
    }

    /// The client with these credentials, from this address. In a request for a token, the token of an OIDC provider
    /// may also come as a token.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        from: IpAddr,
        asks_for_token: bool,
    ) -> Result<Identity, CredentialsError> {
        if let Credentials::Password { user, password } = credentials
            && let Some(keys) = self.scheme.bucket_keys_of(user)
        {
            return Ok(Identity::of_bucket(keys.verify(user, password, from).await?));
        }
        match (&self.scheme, credentials) {
            (Scheme::Open(_), _) | (_, Credentials::None) => Ok(Identity::ANONYMOUS),
            (Scheme::Own { oidc, .. }, Credentials::Password { user, password }) if oidc.is_provider(user) => {
                Ok(of_oidc(oidc.verify(user, password, from).await?))
            }
            (Scheme::Own { passwords, bucket_keys, .. }, Credentials::Password { user, password }) => {
                // The log must not have a secret that was put in the place of the id.
                let may_be_secret = bucket_keys.is_some() && bucket_keys::is_long_enough(user);
                let unknown = if may_be_secret { CredentialsError::Invalid } else { CredentialsError::UnknownUser };
                let name = passwords.as_ref().ok_or(unknown)?.verify(user, password, from).await;
                let name =
                    name.map_err(|error| if error == CredentialsError::UnknownUser { unknown } else { error })?;
                Ok(Identity { user: Some(name), ..Identity::ANONYMOUS })
            }
            (
                Scheme::Own { passwords, oidc, bucket_keys, keys, issuer: Some(issuer), .. },
                Credentials::Token(token),
            ) => {
                let foreign = if asks_for_token { oidc.verify_bearer(token, from).await } else { None };
                if let Some(login) = foreign {
                    return Ok(of_oidc(login?));
                }
                let (passwords, bucket_keys) = (passwords.as_deref(), bucket_keys.as_deref());
                let client = issuer.verify(token, &Known { passwords, keys, oidc, bucket_keys })?;
                // An anonymous token is no login where nothing is allowed to anonymous clients.
                let is_good = client.user.is_some() || self.rules.admit_anonymous();
                if is_good { Ok(client) } else { Err(CredentialsError::Invalid) }
            }
            (Scheme::Token { verifier, .. }, Credentials::Token(token)) => {
                let grants = verifier.verify(token)?;
                let user = grants.user.clone();
                Ok(Identity { user, grants: Some(grants), has_token: true, ..Identity::ANONYMOUS })
            }
            (Scheme::Own { .. } | Scheme::Token { .. }, _) => Err(CredentialsError::Invalid),
        }
    }

    /// Whether the verification of these credentials logs why it fails.
    #[must_use]
    pub fn logs_failures_of(&self, credentials: &Credentials<'_>) -> bool {
        match (&self.scheme, credentials) {
            (_, Credentials::Token(_)) => true,
            (Scheme::Own { oidc, .. }, Credentials::Password { user, .. }) => {
                oidc.is_provider(user) || self.scheme.bucket_keys_of(user).is_some()
            }
            _ => false,
        }
    }

    /// A session for the browser of a client that gave a password, or keys of the bucket; `None` for another client.
    ///
    /// # Errors
    /// The session cannot be signed.
    pub fn begin_session(&self, client: &Identity) -> Result<Option<Session>, AuthError> {
        match (&self.scheme, &client.user, &client.login) {
            (Scheme::Own { sessions, .. }, _, Some(Login::Bucket(login))) => sessions.begin_for_bucket(login).map(Some),
            (Scheme::Own { passwords: Some(passwords), sessions, .. }, Some(user), None) => {
                sessions.begin(user, passwords)
            }
            _ => Ok(None),
        }
    }

    /// The client whose session this is; `None` if it is not valid, or not any more.
    #[must_use]
    pub fn resume_session(&self, session: &str) -> Option<Identity> {
        match &self.scheme {
            Scheme::Own { passwords, bucket_keys, sessions, .. } => {
                sessions.verify(session, passwords.as_deref(), bucket_keys.as_deref())
            }
            Scheme::Open(_) | Scheme::Token { .. } => None,
        }
    }

    /// Whether clients can log in with Ollama's keys.
    #[must_use]
    pub fn takes_ollama_keys(&self) -> bool {
        matches!(&self.scheme, Scheme::Own { keys, .. } if !keys.is_empty())
    }

    /// The client of a signed request for a token.
    ///
    /// # Errors
    /// See [`OllamaKeyError`].
    pub fn authenticate_ollama(&self, login: &OllamaLogin<'_>) -> Result<Identity, OllamaKeyError> {
        let Scheme::Own { keys, .. } = &self.scheme else {
            return Err(OllamaKeyError::Malformed);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let (key, user) = keys.verify(login, now)?;
        let login = KeyLogin { key, scopes: login.scopes.clone(), expires: login.time.saturating_add(SKEW) };
        let login = Some(Login::Key(Arc::new(login)));
        Ok(Identity { user: Some(Arc::clone(user)), login, ..Identity::ANONYMOUS })
    }

    /// Whether a client may do something. `holds_pushed` says whether the repository holds pushed content, if known.
    #[must_use]
    pub fn authorize(&self, client: &Identity, scope: Scope<'_>, holds_pushed: Option<bool>) -> Verdict {
        let is_authenticated = client.user.is_some() || client.has_token;
        let verdict = |allowed| match (allowed, client.user.is_some(), &client.grants) {
            (true, ..) => Verdict::Allowed,
            // A token server may grant more with another token.
            (false, false, _) | (false, _, Some(_)) => Verdict::Unauthorized,
            (false, true, None) => Verdict::Denied,
        };
        match (&self.scheme, scope) {
            (Scheme::Open(_), scope) => self.authorize_open(scope),
            (_, Scope::Login) if is_authenticated => Verdict::Allowed,
            (_, Scope::Login) => Verdict::Unauthorized,
            (Scheme::Token { .. }, Scope::Catalog) => {
                verdict(client.grants.as_ref().is_some_and(|grants| grants.allow_catalog()))
            }
            (Scheme::Own { .. }, Scope::Catalog) => verdict(match &client.grants {
                Some(grants) => grants.allow_catalog(),
                None => is_authenticated || self.rules.admit_anonymous(),
            }),
            (_, Scope::Repository(name, action)) => self.authorize_in(client, name, action, holds_pushed),
            (_, Scope::Mount { name, .. }) => self.authorize_in(client, name, Action::Push, holds_pushed),
        }
    }

    /// A denial is never [`Verdict::Unauthorized`], because no client can log in.
    fn authorize_open(&self, scope: Scope<'_>) -> Verdict {
        let needed = match scope {
            Scope::Login => return Verdict::Allowed,
            Scope::Catalog => Action::Pull,
            Scope::Repository(_, action) => action,
            Scope::Mount { .. } => Action::Push,
        };
        if self.is_open_to(needed) { Verdict::Allowed } else { Verdict::Denied }
    }

    fn authorize_in(
        &self,
        client: &Identity,
        name: &RepositoryName,
        action: Action,
        holds_pushed: Option<bool>,
    ) -> Verdict {
        let by_rule = self.rules.allow(client.client(), name, action, holds_pushed);
        // A client needs the right in its token, and the rules may restrict that.
        let by_token = client.grants.as_ref().map(|it| it.allow(name, action));
        let is_known = client.user.is_some() || client.grants.is_some();
        match by_token {
            Some(false) => Verdict::Unauthorized,
            // Another token for these keys would not help.
            _ if !client.keys_allow(action) => Verdict::Denied,
            _ if by_rule.is_none() => Verdict::Depends,
            _ if by_rule == Some(true) || (is_known && self.rules.is_empty()) => Verdict::Allowed,
            None if !is_known => Verdict::Unauthorized,
            _ => Verdict::Denied,
        }
    }

    /// Whether a client may mount a blob without naming a source repository: only if it may pull from all.
    #[must_use]
    pub fn may_mount_from_anywhere(&self, client: &Identity) -> bool {
        self.is_open_to(Action::Pull) || (client.user.is_some() && client.grants.is_none() && self.rules.is_empty())
    }

    /// Whether a client may pull from every repository, so that figures of all of them tell it nothing new.
    #[must_use]
    pub fn may_pull_from_all(&self, client: &Identity) -> bool {
        let by_rules = || client.grants.is_none() && self.rules.may_pull_everywhere(client.client());
        self.may_mount_from_anywhere(client) || (!self.is_open() && by_rules())
    }

    /// Whether the catalog lists a repository for a client that may see the catalog; `None` if `holds_pushed` is needed
    /// and unknown.
    #[must_use]
    pub fn may_list(&self, client: &Identity, name: &RepositoryName, holds_pushed: Option<bool>) -> Option<bool> {
        if self.is_open() || self.rules.is_empty() {
            return Some(self.may_list_any(client));
        }
        self.rules.allow(client.client(), name, Action::Pull, holds_pushed)
    }

    /// Whether the catalog may list anything for a client that may see the catalog, as far as the rules decide.
    #[must_use]
    pub fn may_list_any(&self, client: &Identity) -> bool {
        self.is_open_to(Action::Pull)
            || (!self.is_open() && self.rules.is_empty())
            || self.rules.may_pull_somewhere(client.client())
    }

    /// Whether a client that may see the catalog may pull anything of an upstream, as far as the rules decide: of the
    /// default one, or of the further one whose repositories have `host` as their first component. A token server's
    /// clients without a token may not, because only the token server knows.
    #[must_use]
    pub fn may_pull_from(&self, client: &Identity, host: Option<&str>) -> bool {
        let is_known = client.user.is_some() || client.grants.is_some();
        match &self.scheme {
            Scheme::Open(_) => self.is_open_to(Action::Pull),
            Scheme::Own { .. } | Scheme::Token { .. } if self.rules.is_empty() => is_known,
            Scheme::Own { .. } => self.rules.may_pull_from(client.client(), host),
            Scheme::Token { .. } => is_known && self.rules.may_pull_from(client.client(), host),
        }
    }

    /// How clients have to authenticate; `None` if no client can log in. Ollama may have a key.
    #[must_use]
    pub fn challenge(&self, is_ollama: bool) -> Option<Challenge<'_>> {
        let takes_tokens = self.gives_tokens_for_passwords() || (is_ollama && self.takes_ollama_keys());
        match &self.scheme {
            Scheme::Open(_) => None,
            Scheme::Own { realm, .. } if takes_tokens => Some(Challenge::Bearer { realm: Realm::Own, service: realm }),
            Scheme::Own { realm, .. } => Some(Challenge::Basic { realm }),
            Scheme::Token { realm, path, service, .. } => {
                Some(Challenge::Bearer { realm: realm.as_deref().map_or(Realm::Beside(path), Realm::At), service })
            }
        }
    }

    /// Whether a user with a password can have a token: where pounce's challenge names its own token server to all
    /// clients, because some have no password.
    fn gives_tokens_for_passwords(&self) -> bool {
        let has_providers = matches!(&self.scheme, Scheme::Own { oidc, .. } if !oidc.is_empty());
        has_providers || self.rules.admit_anonymous()
    }

    /// Whether a token is given only to clients that log in.
    #[must_use]
    pub fn gives_tokens_to_users_only(&self) -> bool {
        self.gives_tokens_for_passwords() && !self.rules.admit_anonymous()
    }

    /// A token for a client; `None` if pounce issues none.
    ///
    /// # Errors
    /// The token cannot be signed.
    #[must_use]
    pub fn issue_token(&self, client: &Identity) -> Option<Result<IssuedToken, AuthError>> {
        let Scheme::Own { passwords, issuer: Some(issuer), .. } = &self.scheme else {
            return None;
        };
        match (&client.user, &client.login) {
            (Some(user), Some(Login::Key(login))) => Some(issuer.issue_for_key(user, login)),
            (_, Some(Login::Oidc(login))) => Some(issuer.issue_for_oidc(login)),
            (_, Some(Login::Bucket(login))) => {
                self.gives_tokens_for_passwords().then(|| issuer.issue_for_bucket(login))
            }
            (None, _) if !self.rules.admit_anonymous() => None,
            (user, _) => {
                let passwords = passwords.as_deref();
                self.gives_tokens_for_passwords().then(|| issuer.issue(user.as_deref(), passwords))
            }
        }
    }
}

fn of_oidc(login: Arc<OidcLogin>) -> Identity {
    Identity { user: Some(Arc::clone(&login.user)), login: Some(Login::Oidc(login)), ..Identity::ANONYMOUS }
}
