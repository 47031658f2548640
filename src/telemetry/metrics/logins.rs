//! Metrics of logins: passwords and tokens that were checked.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::labels::Ended;
use super::register::register;

/// How the verification of credentials ended that others vouch for: OIDC providers, or the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsCheck {
    /// They log their client in.
    Accepted,
    /// They are not good.
    Refused,
    /// The provider, or the bucket, does not tell.
    Unavailable,
}

impl CredentialsCheck {
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
    bucket_keys: Family<Ended, Counter>,
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
            bucket_keys: register(
                registry,
                "bucket_key_checks",
                "Logins with keys of the bucket for which the bucket was asked; cached results are not counted",
            ),
        };
        // Prometheus sees no increase where a series begins at 1.
        for result in [true, false].map(as_str) {
            drop(metrics.passwords.get_or_create(&Ended { result }));
        }
        for check in CredentialsCheck::ALL {
            for family in [&metrics.oidc, &metrics.bucket_keys] {
                drop(family.get_or_create(&Ended { result: check.as_str() }));
            }
        }
        metrics
    }

    pub(super) fn password(&self, is_right: bool) {
        self.passwords.get_or_create(&Ended { result: as_str(is_right) }).inc();
    }

    pub(super) fn oidc(&self, check: CredentialsCheck) {
        self.oidc.get_or_create(&Ended { result: check.as_str() }).inc();
    }

    pub(super) fn bucket_keys(&self, check: CredentialsCheck) {
        self.bucket_keys.get_or_create(&Ended { result: check.as_str() }).inc();
    }
}

const fn as_str(is_right: bool) -> &'static str {
    if is_right { "right" } else { "wrong" }
}
