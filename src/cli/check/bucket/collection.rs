//! What garbage collection keeps beside the registry's content: records of pulls, what a round remembers, and the keys
//! that it condemned.

use uuid::Uuid;

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::config::Config;
use crate::oci::MediaType;
use crate::store::{Condition, Key, Metadata, StoreError};

const NAME: &str = "garbage collection";

/// Whether something goes by this configuration.
pub(super) fn is_on(config: &Config) -> bool {
    let storage = &config.storage;
    let has_rules = storage.maintenance.gc.enabled || storage.maxsize.is_some() || !storage.retention.is_empty();
    has_rules && !storage.maintenance.readonly.enabled
}

/// Writes, reads, lists and deletes an object below each of its prefixes.
pub(super) async fn check(probe: &Probe<'_>, report: &mut Report) {
    let id = Uuid::new_v4();
    let places = [
        (Key::PullNotes, Key::PullsCheck(&id), "what clients pull is not known, so that nothing goes by its use"),
        (
            Key::GcDirectory,
            Key::GcCheck(&id),
            "each round reads all manifests anew, and rounds begin too early or never",
        ),
        // As a batch that no state names.
        (Key::GcBatches, Key::GcCondemned(&id), "no garbage is collected"),
    ];
    let mut is_good = true;
    for (directory, key, consequence) in places {
        match try_place(probe, directory, key).await {
            Ok(true) => {}
            Ok(false) => {
                let why = format!("below {directory} is something else than what was written");
                probe.differs(report, NAME, &why, consequence);
                is_good = false;
            }
            Err(StoreError::Denied { operation, cause }) => {
                let why = format!("{operation} was refused below {directory}: {cause}; {consequence}");
                let next = format!("allow {} for {directory}*", permission(operation));
                report.failed(NAME, "storage.s3.accesskey", &why, &next);
                is_good = false;
            }
            Err(error) => {
                probe.failed(report, NAME, &error, consequence);
                is_good = false;
            }
        }
    }
    if is_good {
        report.passed(NAME, "objects were written, read, listed and deleted below all of its prefixes");
    }
}

/// Whether an object comes back, is listed, and goes.
async fn try_place(probe: &Probe<'_>, directory: Key<'_>, key: Key<'_>) -> Result<bool, StoreError> {
    let (store, bytes, none) = (&probe.store, probe.bytes.slice(..16), Metadata::new());
    store.put(key, bytes.clone(), &MediaType::OCTET_STREAM, &none, Condition::Always).await?;
    let found = async {
        let found = store.leader().get(key).await?;
        let (listed, _) = store.objects(directory, None, 1).await?;
        Ok::<_, StoreError>(found.is_some_and(|object| object.bytes == bytes) && !listed.is_empty())
    };
    let found = found.await;
    store.delete(key).await?;
    found
}

/// What a policy of S3 calls it.
fn permission(operation: &str) -> &'static str {
    match operation {
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject" => "s3:PutObject",
        "DeleteObject" => "s3:DeleteObject",
        _ => "s3:ListBucket",
    }
}
