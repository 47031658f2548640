//! Metrics of logins: passwords and tokens that were checked.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::labels::Ended;
use super::register::register;

/// How the verification of a token of an OIDC provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidcCheck {
    /// It logs its client in.
    Accepted,
    /// It is no good token.
    Refused,
    /// The keys of its issuer are not known.
    Unavailable,
}

impl OidcCheck {
    const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Unavailable];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The metrics of logins.
#[derive(Clone, Debug)]
pub(super) struct LoginMetrics {
    passwords: Family<Ended, Counter>,
    oidc: Family<Ended, Counter>,
}

impl LoginMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            passwords: register(
                registry,
                "password_checks",
                "Comparisons of a password with a user's hash; cached results are not counted",
            ),
            oidc: register(
                registry,
                "oidc_checks",
                "Verifications of a token of an OIDC provider; cached results are not counted",
            ),
        };
        // Prometheus sees no increase where a series begins at 1.
        for result in [true, false].map(as_str) {
            drop(metrics.passwords.get_or_create(&Ended { result }));
        }
        for check in OidcCheck::ALL {
            drop(metrics.oidc.get_or_create(&Ended { result: check.as_str() }));
        }
        metrics
    }

    pub(super) fn password(&self, is_right: bool) {
        self.passwords.get_or_create(&Ended { result: as_str(is_right) }).inc();
    }

    pub(super) fn oidc(&self, check: OidcCheck) {
        self.oidc.get_or_create(&Ended { result: check.as_str() }).inc();
    }
}

const fn as_str(is_right: bool) -> &'static str {
    if is_right { "right" } else { "wrong" }
}
