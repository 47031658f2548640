//! What this process knows of the condemned keys.

use std::sync::Arc;

use uuid::Uuid;

use super::hashes::{BatchKeys, Filter};
use super::state::GcState;
use crate::registry::runtime::Moment;
use crate::store::{Key, Polled, Store, StoreError};

/// How often a batch is looked for that was retired while its keys were read.
const ATTEMPTS: usize = 3;

/// The condemned keys at one moment.
#[derive(Debug)]
pub(super) struct Knowledge {
    /// Before the bucket was asked.
    pub(super) asked: Moment,
    /// Of the state; `None`: there is none.
    etag: Option<String>,
    pub(super) batches: Vec<(Uuid, Arc<Filter>)>,
}

impl Knowledge {
    /// Asks the bucket's leader.
    ///
    /// # Errors
    /// The bucket does not answer; or `Corrupt`, and nothing may be written.
    pub(super) async fn ask(store: &Store, known: Option<&Self>) -> Result<Self, StoreError> {
        let is_whole = |known: &&Self| known.batches.iter().all(|(_, filter)| **filter != Filter::Any);
        for attempt in 1..=ATTEMPTS {
            let asked = Moment::now();
            // A lost batch may be there again, under the same state.
            let etag = known.filter(is_whole).and_then(|known| known.etag.as_deref());
            let (version, bytes) = match store.poll(Key::GcState, etag).await? {
                Polled::Absent => return Ok(Self { asked, etag: None, batches: Vec::new() }),
                Polled::Unchanged { .. } => {
                    let batches = known.map(|known| known.batches.clone()).unwrap_or_default();
                    return Ok(Self { asked, etag: etag.map(str::to_owned), batches });
                }
                Polled::Read(version, bytes) => (version, bytes),
                Polled::TooLarge(_) => return Err(corrupt(Key::GcState, "it is too large".to_owned())),
            };
            let state = GcState::decode(&bytes).map_err(|cause| corrupt(Key::GcState, cause))?;
            if let Some(batches) = load(store, &state, known, attempt == ATTEMPTS).await? {
                return Ok(Self { asked, etag: Some(version.etag), batches });
            }
        }
        Err(corrupt(Key::GcState, "it changes all the time".to_owned()))
    }
}

/// The filters of the active batches; `None`: one is gone, perhaps because it was retired meanwhile. `is_last`: then its
/// keys are lost. It may have any, which costs writers requests, and spares what they need.
async fn load(
    store: &Store,
    state: &GcState,
    known: Option<&Knowledge>,
    is_last: bool,
) -> Result<Option<Vec<(Uuid, Arc<Filter>)>>, StoreError> {
    let mut batches = Vec::with_capacity(state.batches.len());
    for batch in &state.batches {
        let id = batch.id;
        let before = known.and_then(|known| known.batches.iter().find(|(known, _)| *known == id));
        if let Some((_, filter)) = before.filter(|(_, filter)| **filter != Filter::Any) {
            batches.push((id, Arc::clone(filter)));
            continue;
        }
        let filter = match read(store, &id).await {
            Ok(Some(keys)) => Filter::new(&keys),
            Ok(None) if !is_last => return Ok(None),
            Ok(None) | Err(StoreError::Corrupt { .. }) => {
                let message = "the keys that garbage collection condemned are lost, so that writes cost more requests \
                               until the next round";
                tracing::warn!(batch = %id, "{message}");
                Filter::Any
            }
            Err(error) => return Err(error),
        };
        batches.push((id, Arc::new(filter)));
    }
    Ok(Some(batches))
}

/// All keys of a batch; `None`: it is not there.
///
/// # Errors
/// The bucket does not answer; `Corrupt`.
pub(in crate::registry) async fn read(store: &Store, id: &Uuid) -> Result<Option<BatchKeys>, StoreError> {
    let key = Key::GcCondemned(id);
    let Some(object) = store.leader().get(key).await? else {
        return Ok(None);
    };
    let keys = BatchKeys::decode(&object.bytes);
    keys.map(Some).ok_or_else(|| corrupt(key, "it is no batch of keys".to_owned()))
}

fn corrupt(key: Key<'_>, cause: String) -> StoreError {
    StoreError::Corrupt { key: key.to_string(), cause }
}
