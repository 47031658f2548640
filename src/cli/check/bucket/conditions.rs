//! Writes and deletes that depend on what is there.

use super::Trial;
use crate::cli::check::report::Report;
use crate::oci::MediaType;
use crate::store::{Condition, Conditions, Key, Metadata, StoreError};

impl Trial<'_> {
    /// What the upstream says of a tag is written only if no push came in between.
    pub(super) async fn conditional_write(&self, report: &mut Report) {
        let (name, lost) = (
            "conditional write",
            "a tag that distribution pushes to this bucket can be overwritten by one that pounce pulls; what pounce \
             itself pushes is safe, at two requests more for each push",
        );
        let ignored = match self.store.try_conditions(&self.second).await {
            Ok(Conditions { if_absent: true, if_unchanged: true, .. }) => {
                return report.right(name, "what must not be overwritten stays");
            }
            Ok(Conditions { if_absent: true, .. }) => "If-Match",
            Ok(Conditions { if_unchanged: true, .. }) => "If-None-Match",
            Ok(_) => "If-None-Match and If-Match",
            Err(error) => return self.failed(report, name, &error, "manifests cannot be stored"),
        };
        let why = format!("the bucket ignores {ignored}");
        report.wrong(name, &why, lost);
    }

    /// A delete of a manifest takes a tag only if no push has moved it meanwhile.
    pub(super) async fn conditional_delete(&self, report: &mut Report) {
        let (key, name) = (Key::Check(&self.second), "conditional delete");
        let tried = async {
            let (bytes, none) = (self.bytes.clone(), Metadata::new());
            let kind = &MediaType::OCTET_STREAM;
            let written = self.store.put(key, bytes, kind, &none, Condition::Always);
            if written.await.is_err() {
                // That was said already.
                return Ok(None);
            }
            let Some(object) = self.store.get_now(key).await? else {
                return Ok(None);
            };
            let mut other = object.clone();
            other.etag = Some(format!("\"{}\"", "0".repeat(32)));
            if self.store.delete_unchanged(key, &other).await? {
                let why = "the bucket ignores If-Match";
                let lost = "a tag that distribution pushes just while the manifest that it meant is deleted can be lost; \
                            what pounce itself pushes is safe, at two requests more for each push";
                return Ok(Some((why, lost)));
            }
            if self.store.delete_unchanged(key, &object).await? {
                report.right(name, "an object stays that is not the one to be deleted");
                return Ok(None);
            }
            let why = "the bucket takes an object's own ETag for another one";
            let lost = "whatever stands between pounce and the bucket must not change ETags; until then, manifests \
                        that have tags cannot be deleted";
            Ok::<_, StoreError>(Some((why, lost)))
        };
        match tried.await {
            Ok(None) => {}
            Ok(Some((why, lost))) => report.wrong(name, why, lost),
            Err(error) => self.failed(report, name, &error, "manifests that have tags cannot be deleted"),
        }
    }
}
