//! What every view is made of: the request, and the user that it is for.

use std::fmt::Display;

use crate::auth::{Identity, Scope, Verdict};
use crate::http::authorize::verdict_from_memory;
use crate::http::{Context, public_url};
use crate::oci::{Action, RepositoryName};

/// A request for a view.
pub(super) struct View<'a> {
    pub(super) cx: &'a Context<'a>,
    /// The user, or an anonymous client.
    pub(super) identity: Identity,
}

impl<'a> View<'a> {
    pub(super) fn of(cx: &'a Context<'a>) -> Self {
        Self { cx, identity: Identity::ANONYMOUS }
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> String {
        self.href(format_args!("/-/repository/{name}"))
    }

    /// Whether the user may pull from a repository, as far as memory tells.
    pub(super) fn may_pull(&self, name: &RepositoryName) -> bool {
        let scope = Scope::Repository(name, Action::Pull);
        verdict_from_memory(self.cx.app, &self.identity, scope) == Verdict::Allowed
    }

    /// Whether the user sees figures of the whole registry. Where users log in, anonymous clients see their part only.
    pub(super) fn sees_totals(&self) -> bool {
        let access = &self.cx.app.access;
        (access.is_open() || self.identity.user().is_some()) && access.may_list_any(&self.identity)
    }

    /// Whether the user may pull anything of the upstream with this component.
    pub(super) fn may_pull_from(&self, component: Option<&str>) -> bool {
        self.cx.app.access.may_pull_from(&self.identity, component)
    }

    /// The path by which a browser reaches one of pounce's own, such as `/-/login`.
    pub(super) fn href(&self, path: impl Display) -> String {
        public_url::public_path(self.cx.app, &format!("{}{path}", self.cx.app.prefix)).into_owned()
    }
}
