//! `/metrics` of the operator's listener.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;

use super::AppState;
use crate::store::Location;
use crate::telemetry::Levels;

/// All metrics, those that are looked at only now included.
pub(super) fn render(app: &AppState) -> String {
    let registry = &app.registry;
    let (location, health) = registry.bucket();
    let folder = match location {
        Location::Folder(folder) => Some(&**folder),
        Location::Bucket { .. } => None,
    };
    let mut failing = BTreeMap::<&str, Duration>::new();
    let routes = registry.repositories.routes();
    for names in routes.names() {
        // Several upstreams may be at one host, by prefixes of their own.
        let longest = failing.entry(names.upstream.metrics().host()).or_default();
        *longest = (*longest).max(names.upstream.health().failing_for());
    }
    app.metrics.render(&Levels {
        caches: registry.cache_usage(),
        fills_waiting: registry.fills_status(0).waiting,
        bucket_failing: health.failing_for(),
        upstreams_failing: failing.into_iter().collect(),
        folder_free: folder.and_then(free),
        spool_free: app.config.proxy.spool.directory.as_deref().and_then(free),
    })
}

/// Bytes that are free on the disk of a folder.
fn free(folder: &Path) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
