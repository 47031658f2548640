//! Single objects: written, read, listed and deleted.

use super::{Trial, advice};
use crate::cli::check::report::Report;
use crate::oci::MediaType;
use crate::store::{Condition, Key, Metadata};
use crate::telemetry::causes;

impl Trial<'_> {
    pub(super) async fn write_and_read(&self, report: &mut Report) -> bool {
        let key = Key::Check(&self.first);
        let (bytes, none) = (self.bytes.clone(), Metadata::new());
        let kind = &MediaType::OCTET_STREAM;
        let written = self.store.put(key, bytes, kind, &none, Condition::Always);
        match written.await {
            Ok(_) => report.right("write", "an object was written"),
            Err(error) => {
                self.failed(report, "write", &error, "");
                return false;
            }
        }
        match self.store.get(key).await {
            Ok(Some(object)) if object.bytes == self.bytes => {
                report.right("read", "it was read back");
                true
            }
            Ok(_) => {
                let advice = "whatever stands between pounce and the bucket must not change objects";
                report.wrong("read", "what came back is not what was written", advice);
                false
            }
            Err(error) => {
                self.failed(report, "read", &error, "");
                false
            }
        }
    }

    /// Names are listed by a delimiter: those of tags, of repositories, and of uploads.
    pub(super) async fn list(&self, report: &mut Report) {
        let (name, lost) = ("list", "tags and repositories cannot be listed, nor manifests deleted");
        match self.store.children(Key::Checks, usize::MAX).await {
            Ok(names) if names.contains(&self.first.to_string()) => {
                report.right(name, "it was found by a listing with a delimiter");
            }
            Ok(_) => {
                let why = "a listing with a delimiter does not name what was written";
                report.wrong(name, why, lost);
            }
            Err(error) => self.failed(report, name, &error, lost),
        }
    }

    pub(super) async fn delete(&self, report: &mut Report) {
        for id in [&self.first, &self.second] {
            let key = Key::Check(id);
            let left = match self.store.delete(key).await {
                Ok(()) => self.store.head(key).await,
                Err(error) => Err(error),
            };
            match left {
                Ok(None) => {}
                Ok(Some(_)) => {
                    let why = "an object is still there after it was deleted";
                    return report.wrong("delete", why, "wait, and look for _check/ in the bucket");
                }
                Err(error) => {
                    let why = causes(&error);
                    return report.wrong("delete", &why, &advice::of(self.config, &why));
                }
            }
        }
        report.right("delete", "nothing is left over");
    }
}
