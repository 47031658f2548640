//! What clients may do, in words for the log.

use super::access::Access;
use super::scheme::Scheme;
use crate::oci::Action;

/// What clients may do, for the log.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Without a login, in words.
    pub without_login: String,
    /// With one, in words.
    pub with_login: String,
    /// Actions that need no login: in every repository, or in those that rules name.
    pub open: Vec<Action>,
}

impl Granted {
    /// What clients may do, of the actions that are possible at all.
    #[must_use]
    pub fn of(access: &Access, possible: &[Action]) -> Self {
        let of = |actions: &[Action]| possible.iter().copied().filter(|action| actions.contains(action)).collect();
        let open: Vec<Action> = match &access.scheme {
            Scheme::Open(actions) => of(actions),
            Scheme::Own { .. } | Scheme::Token { .. } => of(&access.rules.actions(false)),
        };
        let where_allowed = |actions: &[Action]| match actions {
            [] => "nothing".to_owned(),
            actions if access.rules.is_empty() => Action::list(actions),
            actions => format!("{}, where auth.rules allow it", Action::list(actions)),
        };
        let with_login = match &access.scheme {
            Scheme::Open(_) => "no login is set up: `pounce htpasswd USER` makes users for auth.htpasswd".to_owned(),
            Scheme::Token { .. } if access.rules.is_empty() => "what tokens grant".to_owned(),
            Scheme::Token { .. } => "what tokens grant and auth.rules allow".to_owned(),
            Scheme::Own { .. } if access.rules.is_empty() => Action::list(possible),
            Scheme::Own { .. } => where_allowed(&of(&access.rules.actions(true))),
        };
        let has_keys = matches!(&access.scheme, Scheme::Own { bucket_keys: Some(_), .. });
        let most = if has_keys { "; with keys of the bucket, no more than these may do there" } else { "" };
        let with_login = with_login + most;
        Self { without_login: where_allowed(&open), with_login, open }
    }
}
