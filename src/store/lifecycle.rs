//! Whether a lifecycle of the bucket moves what pounce stores to where a GET does not reach it.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use super::bucket::Store;
use super::error::{StoreError, failure, translate};
use super::key::Key;

/// What a bucket's lifecycle does to what pounce stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// There is none, or none that a GET minds.
    Harmless,
    /// These rules move it to a class that answers a GET with 403 `InvalidObjectState` (AWS' "Archive" classes).
    Freezes(Vec<Freeze>),
    /// The bucket does not tell, for this reason.
    Untold(String),
}

/// A rule that moves objects away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The rule's name; empty if it has none.
    pub rule: String,
    /// Where to: `GLACIER` or `DEEP_ARCHIVE`.
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
                let freezes: Vec<_> = rules.flat_map(freezes).collect();
                return Ok(if freezes.is_empty() { Lifecycle::Harmless } else { Lifecycle::Freezes(freezes) });
            }
            Err(error) => error,
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if code == Some("NoSuchLifecycleConfiguration") || translate(OPERATION, &error).is_none() {
            return Ok(Lifecycle::Harmless);
        }
        // Denied, not implemented, not allowed: whatever it is, the bucket is there.
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (status, code) {
            (Some(400..=499 | 501), Some(code)) => Ok(Lifecycle::Untold(code.to_owned())),
            (Some(status @ (400..=499 | 501)), None) => Ok(Lifecycle::Untold(status.to_string())),
            _ => Err(failure(OPERATION, &error)),
        }
    }
}

fn freezes(rule: &LifecycleRule) -> impl Iterator<Item = Freeze> {
    let classes = rule.transitions().iter().filter_map(|it| it.storage_class());
    classes
        .filter(|class| matches!(class, TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive))
        .map(|class| Freeze { rule: rule.id().unwrap_or_default().to_owned(), class: class.as_str().to_owned() })
}

/// Whether a rule is in force, and about anything below `own`. What has tags is not: pounce's objects have none.
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
