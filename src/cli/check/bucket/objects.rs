//! Writing, reading, listing and deleting objects.

use super::advice;
use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::oci::MediaType;
use crate::store::{Condition, Key, Metadata};
use crate::telemetry::causes;

pub(super) async fn write_and_read(probe: &Probe<'_>, report: &mut Report) -> bool {
    let key = Key::Check(&probe.first);
    let (bytes, none) = (probe.bytes.clone(), Metadata::new());
    let kind = &MediaType::OCTET_STREAM;
    let written = probe.store.put(key, bytes, kind, &none, Condition::Always);
    match written.await {
        Ok(_) => report.passed("write", "an object was written"),
        Err(error) => {
            probe.failed(report, "write", &error, "");
            return false;
        }
    }
    match probe.store.get(key).await {
        Ok(Some(object)) if object.bytes == probe.bytes => {
            report.passed("read", "it was read back");
            true
        }
        Ok(_) => {
            let consequence = "whatever stands between pounce and the bucket must not change objects";
            probe.differs(report, "read", "what came back is not what was written", consequence);
            false
        }
        Err(error) => {
            probe.failed(report, "read", &error, "");
            false
        }
    }
}

/// Tags, repositories and uploads are listed with a delimiter.
pub(super) async fn list(probe: &Probe<'_>, report: &mut Report) {
    let (name, consequence) = ("list", "tags and repositories cannot be listed, nor manifests deleted");
    match probe.store.children(Key::Checks, usize::MAX).await {
        Ok(names) if names.contains(&probe.first.to_string()) => {
            report.passed(name, "it was found by a listing with a delimiter");
        }
        Ok(_) => {
            let why = "a listing with a delimiter does not name what was written";
            probe.differs(report, name, why, consequence);
        }
        Err(error) => probe.failed(report, name, &error, consequence),
    }
}

pub(super) async fn delete(probe: &Probe<'_>, report: &mut Report) {
    for id in [&probe.first, &probe.second] {
        let key = Key::Check(id);
        let left = match probe.store.delete(key).await {
            Ok(()) => probe.store.head(key).await,
            Err(error) => Err(error),
        };
        match left {
            Ok(None) => {}
            Ok(Some(_)) => {
                let why = "an object is still there after it was deleted";
                return report.failed("delete", "storage", why, "wait, and look for _check/ in the bucket");
            }
            Err(error) => {
                let why = causes(&error);
                let (setting, next) = advice::of(probe.config, &why);
                return report.failed("delete", setting, &why, &next);
            }
        }
    }
    report.passed("delete", "nothing is left over");
}
