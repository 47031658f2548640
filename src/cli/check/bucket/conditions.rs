//! Conditional writes and deletes.

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::oci::MediaType;
use crate::store::{Condition, Key, Metadata, StoreError};

/// The next step where pounce works, with more requests and fewer guarantees.
const UNCONDITIONAL: &str = "use a bucket that keeps conditions, or push to this one by pounce alone; \
                             docs/configuration.md says what is guaranteed";

/// An upstream's tag is written only if no client pushed the tag meanwhile.
pub(super) async fn write(probe: &Probe<'_>, report: &mut Report) {
    let (name, consequence) = (
        "conditional write",
        "a tag that distribution pushes to this bucket can be overwritten by one that pounce pulls; what pounce \
         itself pushes is safe, at two requests more for each push; and replicas do not share the copies of large \
         blobs: each costs the upstream one",
    );
    match probe.store.try_conditions(&probe.second).await.map(|found| found.lack_of_writes()) {
        Ok(None) => report.passed(name, "what must not be overwritten stays"),
        Ok(Some(why)) => {
            let why = format!("{why}; {consequence}");
            report.warned(name, "storage.s3.regionendpoint", &why, UNCONDITIONAL);
        }
        Err(error) => probe.failed(report, name, &error, "manifests cannot be stored"),
    }
}

/// A delete of a manifest deletes a tag only if no client pushed the tag meanwhile.
pub(super) async fn delete(probe: &Probe<'_>, report: &mut Report) {
    let (key, name) = (Key::Check(&probe.second), "conditional delete");
    let tried = async {
        let (bytes, none) = (probe.bytes.clone(), Metadata::new());
        let kind = &MediaType::OCTET_STREAM;
        let written = probe.store.put(key, bytes, kind, &none, Condition::Always);
        if written.await.is_err() {
            // An earlier check reported it.
            return Ok(None);
        }
        let Some(object) = probe.store.leader().get(key).await? else {
            return Ok(None);
        };
        let other = format!("\"{}\"", "0".repeat(32));
        if probe.store.delete_unchanged(key, Some(&other)).await? {
            let why = "the bucket ignores If-Match";
            let consequence = "a tag that distribution pushes just while the manifest that it meant is deleted can be lost; \
                        what pounce itself pushes is safe, at two requests more for each push";
            let why = format!("{why}; {consequence}");
            report.warned(name, "storage.s3.regionendpoint", &why, UNCONDITIONAL);
            return Ok(None);
        }
        if probe.store.delete_unchanged(key, object.etag.as_deref()).await? {
            report.passed(name, "an object stays that is not the one to be deleted");
            return Ok(None);
        }
        let why = "the bucket takes an object's own ETag for another one";
        let consequence = "whatever stands between pounce and the bucket must not change ETags; until then, manifests \
                    that have tags cannot be deleted";
        Ok::<_, StoreError>(Some((why, consequence)))
    };
    match tried.await {
        Ok(None) => {}
        Ok(Some((why, consequence))) => probe.differs(report, name, why, consequence),
        Err(error) => probe.failed(report, name, &error, "manifests that have tags cannot be deleted"),
    }
}
