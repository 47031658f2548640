//! `/metrics` of the operator's listener.

use rustix::fs::statvfs;

use super::AppState;
use crate::store::Location;
use crate::telemetry::Levels;

/// All metrics, those that are looked at only now included.
pub(super) fn render(app: &AppState) -> String {
    let registry = &app.registry;
    let (location, health) = registry.bucket();
    let folder_free = match location {
        Location::Folder(folder) => statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        Location::Bucket { .. } => None,
    };
    let upstreams = registry.repositories.upstream_names();
    let failing = upstreams.map(|names| (names.upstream.metrics().host(), names.upstream.health().failing_for()));
    app.metrics.render(&Levels {
        caches: registry.cache_usage(),
        fills_waiting: registry.fills_status(0).waiting,
        bucket_failing: health.failing_for(),
        upstreams_failing: failing.collect(),
        folder_free,
    })
}
