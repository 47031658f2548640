//! What the registry does with its bucket, tried once: a file for each subject.

mod advice;
mod conditions;
mod lifecycle;
mod multipart;
mod objects;
mod presigned;

use bytes::Bytes;
use uuid::Uuid;

use super::report::Report;
use crate::config::{Config, Driver};
use crate::store::{Store, StoreError};
use crate::telemetry::causes;

/// What is written to the bucket in one piece, in bytes.
const SIZE: usize = 64 << 10;

/// One after the other.
pub(super) async fn check(config: &Config, report: &mut Report) {
    let addr = config.http.addr.to_reach();
    let store = match Store::connect_beside(&config.storage, &addr).await {
        Ok(store) => store,
        Err(error) => {
            let why = causes(&error);
            return report.wrong("bucket", &why, &advice::of(config, &why));
        }
    };
    report.right("bucket", "it is there, and the credentials are accepted");
    let trial = Trial {
        config,
        store,
        first: Uuid::new_v4(),
        second: Uuid::new_v4(),
        bytes: (0..=u8::MAX).cycle().take(SIZE).collect(),
    };
    if trial.write_and_read(report).await {
        trial.list(report).await;
        trial.presigned(&addr, report).await;
    }
    trial.multipart(report).await;
    trial.conditional_write(report).await;
    trial.conditional_delete(report).await;
    if config.storage.driver == Driver::S3 {
        trial.lifecycle(report).await;
    }
    trial.delete(report).await;
}

/// Two objects of `pounce check`'s own.
struct Trial<'a> {
    config: &'a Config,
    store: Store,
    first: Uuid,
    second: Uuid,
    bytes: Bytes,
}

impl Trial<'_> {
    /// What the bucket does not do, and what will not work.
    fn failed(&self, report: &mut Report, what: &str, error: &StoreError, lost: &str) {
        let why = causes(error);
        let advice = advice::of(self.config, &why);
        let is_full = matches!(error, StoreError::Full { .. });
        let advice = if lost.is_empty() || is_full { advice } else { format!("{lost}; {advice}") };
        report.wrong(what, &why, &advice);
    }
}
