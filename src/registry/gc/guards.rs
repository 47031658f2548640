//! What a collector beside writers needs of the bucket, tried before each round: a bucket may have moved behind a proxy
//! since the process began.

use uuid::Uuid;

use super::requests::{Pace, RequestKind};
use crate::store::{Store, StoreError};

/// Which conditions of writes the bucket does not keep, as a sentence. Without them, a collector overwrites a writer's
/// decision to keep a key.
///
/// # Errors
/// The bucket does not answer.
pub(super) async fn lack_of_conditions(store: &Store, pace: &Pace) -> Result<Option<String>, StoreError> {
    let (put, delete) = (RequestKind::Put, RequestKind::Delete);
    count(pace, [put, put, put, put, delete, delete]);
    match store.try_conditions(&Uuid::new_v4()).await {
        Ok(found) => Ok(found.lack_of_writes()),
        Err(error @ StoreError::Denied { .. }) => {
            Ok(Some(format!("the bucket denies a test of its conditions ({error})")))
        }
        Err(error) => Err(error),
    }
}

/// Why a DELETE can come too late, as a sentence. A collector that was paused would delete what was written again.
///
/// # Errors
/// The bucket does not answer.
pub(super) async fn lack_of_expiry(store: &Store, pace: &Pace) -> Result<Option<String>, StoreError> {
    count(pace, [RequestKind::Put, RequestKind::Delete, RequestKind::Get, RequestKind::Delete]);
    let refuses = store.refuses_expired_deletes(&Uuid::new_v4()).await?;
    let lack = "the bucket, or a proxy before it that signs requests anew, does a presigned DELETE whose time is over";
    Ok((!refuses).then(|| lack.to_owned()))
}

/// A small number of requests, which do not wait.
fn count<const N: usize>(pace: &Pace, kinds: [RequestKind; N]) {
    for kind in kinds {
        pace.count(kind);
    }
}
