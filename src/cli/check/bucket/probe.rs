//! What the checks of the bucket share.

use bytes::Bytes;
use uuid::Uuid;

use super::advice;
use crate::cli::check::report::Report;
use crate::config::{Config, Driver};
use crate::store::{Store, StoreError};
use crate::telemetry::causes;

/// The next step where a bucket does something else than S3 says.
const DIFFERENT: &str = "use another S3, or look at what stands between pounce and this one";
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
    pub(super) fn failed(&self, report: &mut Report, name: &str, error: &StoreError, consequence: &str) {
        let why = causes(error);
        let (setting, next) = advice::of(self.config, &why);
        let is_full = matches!(error, StoreError::Full { .. });
        let why = if consequence.is_empty() || is_full { why } else { format!("{why}; {consequence}") };
        report.failed(name, setting, &why, &next);
    }

    /// Reports a bucket that does something else than S3 says, and the consequence.
    pub(super) fn differs(&self, report: &mut Report, name: &str, why: &str, consequence: &str) {
        let setting = match self.config.storage.driver {
            Driver::S3 => "storage.s3.regionendpoint",
            Driver::Filesystem => "storage.filesystem.rootdirectory",
        };
        report.failed(name, setting, &format!("{why}; {consequence}"), DIFFERENT);
    }
}
