//! What a user sees of the figures.

use super::view::View;
use crate::auth::{Identity, Scope, Verdict};
use crate::http::authorize::verdict_from_memory;
use crate::oci::{Action, RepositoryName};

impl<'a> View<'a> {
    pub(super) fn of(cx: &'a crate::http::Context<'a>) -> Self {
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
}

impl View<'_> {
    /// Whether the user sees figures of the whole registry. Where users log in, anonymous clients see their part only.
    pub(super) fn sees_totals(&self) -> bool {
        let access = &self.cx.app.access;
        (access.is_open() || self.identity.user().is_some()) && access.may_list_any(&self.identity)
    }

    /// Whether the user may pull anything of the upstream with this component.
    pub(super) fn may_pull_from(&self, component: Option<&str>) -> bool {
        self.cx.app.access.may_pull_from(&self.identity, component)
    }
}
