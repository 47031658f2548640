//! What every view is made of: the request, and the user that it is for.

use std::fmt::Display;

use super::cookie;
use crate::auth::{BrowserLogin, Identity, Scope, Verdict};
use crate::http::{Context, authorize, public_url};
use crate::oci::{Action, Error, ErrorCode, RepositoryName};

/// A request for a view.
pub(super) struct View<'a> {
    pub(super) cx: &'a Context<'a>,
    /// The user, or an anonymous client.
    pub(super) identity: Identity,
}

impl<'a> View<'a> {
    /// The view for the user of the request's session.
    pub(super) fn of(cx: &'a Context<'a>) -> Self {
        Self { cx, identity: cookie::identity(cx) }
    }

    /// The path by which a browser reaches one of pounce's own, such as `/-/login`.
    pub(super) fn href(&self, path: impl Display) -> String {
        public_url::public_path(self.cx.app, &format!("{}{path}", self.cx.app.prefix)).into_owned()
    }

    /// The path of a repository's view.
    pub(super) fn repository(&self, name: &RepositoryName) -> String {
        self.href(repository_path(name))
    }

    /// The host of references to images, as in `docker pull <host>/<name>`.
    pub(super) fn host(&self) -> String {
        let base = public_url::base(self.cx).unwrap_or_else(|| self.cx.app.base.clone());
        let host = base.host_str().unwrap_or("localhost");
        base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether clients reach the registry without TLS.
    pub(super) fn is_plain(&self) -> bool {
        public_url::token_base(self.cx).scheme() == "http"
    }

    /// How users log in.
    pub(super) fn login(&self) -> BrowserLogin {
        BrowserLogin::of(&self.cx.app.access())
    }

    /// Whether the user may pull from every repository, so that numbers of all of them tell nothing new.
    pub(super) fn sees_all(&self) -> bool {
        self.cx.app.access().may_pull_from_all(&self.identity)
    }

    /// Whether a repository is shown to the user; `None` if that depends on whether it holds pushed content, and
    /// `holds_pushed` does not tell.
    pub(super) fn shows(&self, name: &RepositoryName, holds_pushed: Option<bool>) -> Option<bool> {
        let scope = Scope::Repository(name, Action::Pull);
        match self.cx.app.access().authorize(&self.identity, scope, holds_pushed) {
            Verdict::Allowed => Some(true),
            Verdict::Depends => None,
            Verdict::Unauthorized | Verdict::Denied => Some(false),
        }
    }

    /// Whether the user may pull from a repository, as far as memory tells.
    pub(super) fn may_pull(&self, name: &RepositoryName) -> bool {
        self.shows(name, self.cx.app.registry.holdings.in_memory(name)) == Some(true)
    }

    /// Whether the user may pull anything of the upstream with this component.
    pub(super) fn may_pull_from(&self, component: Option<&str>) -> bool {
        self.cx.app.access().may_pull_from(&self.identity, component)
    }

    /// Whether the user may delete the repository's tags, where anything can be deleted.
    pub(super) async fn may_delete(&self, name: &RepositoryName) -> Result<bool, Error> {
        let app = self.cx.app;
        if !app.registry.possible_actions().contains(&Action::Delete) {
            return Ok(false);
        }
        let scope = Scope::Repository(name, Action::Delete);
        Ok(authorize::verdict(app, &self.identity, scope).await? == Verdict::Allowed)
    }

    /// Requires that the user may do this.
    ///
    /// # Errors
    /// - `UNAUTHORIZED`: after a login, perhaps.
    /// - `DENIED`, `UNAVAILABLE`.
    pub(super) async fn require(&self, name: &RepositoryName, action: Action) -> Result<(), Error> {
        let scope = Scope::Repository(name, action);
        match authorize::verdict(self.cx.app, &self.identity, scope).await? {
            Verdict::Allowed => Ok(()),
            Verdict::Unauthorized if self.login() == BrowserLogin::Password => {
                Err(Error::new(ErrorCode::Unauthorized, "log in first"))
            }
            Verdict::Unauthorized if self.login() == BrowserLogin::Token => {
                let message = "this page has no token: it shows what is open to clients without one";
                Err(Error::new(ErrorCode::Denied, message))
            }
            Verdict::Unauthorized | Verdict::Denied | Verdict::Depends => {
                Err(authorize::denied(self.cx.app, &self.identity, Some(scope)))
            }
        }
    }
}

/// The path of a repository's view below the prefix.
pub(super) fn repository_path(name: &RepositoryName) -> String {
    format!("/-/repositories/{name}")
}

/// The path of an image's view below the prefix: of a tag, or of a digest.
pub(super) fn image_path(name: &RepositoryName, reference: impl Display) -> String {
    format!("/-/repositories/{name}/-/{reference}")
}
