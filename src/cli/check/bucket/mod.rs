//! Checks of the bucket: everything that the registry does with it, once.

mod advice;
mod collection;
mod conditions;
mod fills;
mod keys;
mod lifecycle;
mod multipart;
mod objects;
mod presigned;
mod probe;

use super::report::Report;
use crate::config::{Config, Driver, Storage};
use crate::store::Store;
use crate::telemetry::causes;

use probe::Probe;

pub(super) async fn check(config: &Config, report: &mut Report) {
    let addr = config.http.addr.to_reach();
    let store = match Store::connect_beside(&config.storage, &addr).await {
        Ok(store) => store,
        Err(error) => {
            let why = causes(&error);
            let (setting, next) = advice::of(config, &why);
            return report.failed("bucket", setting, &why, &next);
        }
    };
    report.passed("bucket", &format!("{} is there, and can be used", describe(&config.storage)));
    let probe = Probe::new(config, store);
    if objects::write_and_read(&probe, report).await {
        objects::list(&probe, report).await;
        presigned::check(&probe, &addr, report).await;
    }
    multipart::check(&probe, report).await;
    conditions::write(&probe, report).await;
    conditions::delete(&probe, report).await;
    let is_s3 = config.storage.driver == Driver::S3;
    if is_s3 && config.auth.beside_upstream {
        fills::check(&probe, report).await;
    }
    if config.auth.bucketkeys {
        keys::check(&probe, report).await;
    }
    if collection::is_on(config) {
        collection::check(&probe, report).await;
    }
    if is_s3 {
        lifecycle::check(&probe, report).await;
    }
    objects::delete(&probe, report).await;
}

/// Where the bucket is: what was derived from all settings.
fn describe(storage: &Storage) -> String {
    if storage.driver == Driver::Filesystem {
        return format!("the folder {}", storage.filesystem.rootdirectory.display());
    }
    let s3 = &storage.s3;
    let place = match (&s3.regionendpoint, &s3.region) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, region) => format!("AWS in {}", region.as_deref().unwrap_or_default()),
    };
    format!("{} at {place}", s3.bucket.as_deref().unwrap_or_default())
}
