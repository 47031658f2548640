//! What the checks of the bucket share.

use bytes::Bytes;
use uuid::Uuid;

use super::advice;
use crate::cli::check::report::Report;
use crate::config::Config;
use crate::store::{Store, StoreError};
use crate::telemetry::causes;

/// The size of the first object, in bytes.
const SIZE: usize = 64 << 10;

/// The bucket, and two keys in it for `pounce check`.
pub(super) struct Probe<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Store,
    pub(super) first: Uuid,
    pub(super) second: Uuid,
    pub(super) bytes: Bytes,
}

impl<'a> Probe<'a> {
    pub(super) fn new(config: &'a Config, store: Store) -> Self {
        let bytes = (0..=u8::MAX).cycle().take(SIZE).collect();
        Self { config, store, first: Uuid::new_v4(), second: Uuid::new_v4(), bytes }
    }

    /// Reports an error of the store, and its consequence.
    pub(super) fn failed(&self, report: &mut Report, what: &str, error: &StoreError, consequence: &str) {
        let why = causes(error);
        let advice = advice::of(self.config, &why);
        let is_full = matches!(error, StoreError::Full { .. });
        let advice = if consequence.is_empty() || is_full { advice } else { format!("{consequence}; {advice}") };
        report.failed(what, &why, &advice);
    }
}
