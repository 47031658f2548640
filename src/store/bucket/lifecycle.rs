//! Whether a lifecycle rule of the bucket archives what pounce stores, so that a GET fails.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use super::handle::Store;
use crate::store::error::{StoreError, failure, translate};
use crate::store::key::Key;

/// The effect of the bucket's lifecycle rules on what pounce stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// There are none, or none that makes a GET fail.
    Harmless,
    /// These rules move it to a class that answers a GET with 403 `InvalidObjectState` (AWS' "Archive" classes).
    Archives(Vec<ArchiveRule>),
    /// The bucket does not tell, for this reason.
    Unknown(String),
}

/// A rule that archives objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveRule {
    /// The rule's name; empty if it has none.
    pub rule: String,
    /// The storage class: `GLACIER` or `DEEP_ARCHIVE`.
    pub class: String,
}

impl Store {
    /// Asks for the bucket's lifecycle.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn lifecycle(&self) -> Result<Lifecycle, StoreError> {
        const OPERATION: &str = "GetBucketLifecycleConfiguration";
        let request = self.inner.client.get_bucket_lifecycle_configuration().bucket(&self.inner.bucket);
        let error = match Box::pin(request.send()).await {
            Ok(found) => {
                let own = self.path(&Key::Root);
                let rules = found.rules().iter().filter(|rule| covers(rule, &own));
                let archives: Vec<_> = rules.flat_map(archives).collect();
                return Ok(if archives.is_empty() { Lifecycle::Harmless } else { Lifecycle::Archives(archives) });
            }
            Err(error) => error,
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if code == Some("NoSuchLifecycleConfiguration") || translate(OPERATION, &error).is_none() {
            return Ok(Lifecycle::Harmless);
        }
        // Denied, not implemented, not allowed: the bucket itself is there.
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (status, code) {
            (Some(400..=499 | 501), Some(code)) => Ok(Lifecycle::Unknown(code.to_owned())),
            (Some(status @ (400..=499 | 501)), None) => Ok(Lifecycle::Unknown(status.to_string())),
            _ => Err(failure(OPERATION, &error)),
        }
    }
}

fn archives(rule: &LifecycleRule) -> impl Iterator<Item = ArchiveRule> {
    let classes = rule.transitions().iter().filter_map(|it| it.storage_class());
    classes
        .filter(|class| matches!(class, TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive))
        .map(|class| ArchiveRule { rule: rule.id().unwrap_or_default().to_owned(), class: class.as_str().to_owned() })
}

/// Whether a rule is enabled and applies to anything below `own`. Rules for tagged objects do not: pounce's have none.
fn covers(rule: &LifecycleRule, own: &str) -> bool {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let is_of_tags =
        filter.is_some_and(|filter| filter.tag().is_some()) || and.is_some_and(|and| !and.tags().is_empty());
    #[expect(deprecated, reason = "buckets whose rules are old have it there")]
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or_else(|| rule.prefix())
        .unwrap_or_default();
    let meets = own.starts_with(prefix) || prefix.starts_with(own);
    *rule.status() == ExpirationStatus::Enabled && meets && !is_of_tags
}
