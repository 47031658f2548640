//! What every view is made of: the request, and the user that it is for.

use std::fmt::Display;

use crate::auth::Identity;
use crate::http::{Context, public_url};

/// A request for a view.
pub(super) struct View<'a> {
    pub(super) cx: &'a Context<'a>,
    /// The user, or an anonymous client.
    pub(super) identity: Identity,
}

impl View<'_> {
    /// The path by which a browser reaches one of pounce's own, such as `/-/login`.
    pub(super) fn href(&self, path: impl Display) -> String {
        public_url::public_path(self.cx.app, &format!("{}{path}", self.cx.app.prefix)).into_owned()
    }
}
