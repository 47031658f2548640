//! Deletes notes that no rule asks for any more.

use std::time::{Duration, SystemTime};

use super::note::{Place, number_of_day};
use crate::store::{Key, Store, StoreError};

/// How far back a rule can ask for pulls, and a day more: the longest duration that a setting takes is 10,000 hours.
pub(super) const LONGEST: Duration = Duration::from_hours(10_000 + 24);

/// Deletes the notes of whole days before `oldest`, and returns how many objects that were. Other objects stay.
///
/// # Errors
/// The bucket did not do it, or not all of it.
pub(in crate::registry) async fn delete_notes_before(store: &Store, oldest: SystemTime) -> Result<usize, StoreError> {
    let (first, mut deleted, mut after) = (number_of_day(oldest), 0, None);
    loop {
        let (listed, more) = store.objects(Key::PullNotes, after.as_deref(), 1000).await?;
        after = listed.last().map(|object| object.path.clone());
        let places: Vec<Place> = listed.iter().filter_map(|object| Place::parse(&object.path)).collect();
        let is_old = |place: &&Place| place.number_of_day().is_some_and(|day| day < first);
        let old: Vec<&Place> = places.iter().filter(is_old).collect();
        let keys: Vec<Key<'_>> = old.iter().map(|it| Key::PullNote(&it.day, it.hour, &it.id)).collect();
        store.delete_all(&keys).await?;
        deleted += keys.len();
        // Days are listed in their order.
        if !more || after.is_none() || old.len() < places.len() {
            return Ok(deleted);
        }
    }
}
