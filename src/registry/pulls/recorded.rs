//! The pulls that a process has to note, bounded in bytes.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::note::{self, Place};
use crate::oci::{Digest, RepositoryName};
use bytes::Bytes;

/// The bytes of the largest note: some 50,000 manifests.
pub(super) const MOST: usize = 4 << 20;
/// From so many bytes on, a note is written at once, and another begins.
const MANY: usize = MOST / 2;
/// The bytes that a digest takes in a note: with its quotes and a comma.
const DIGEST: usize = 75;

/// Manifests by their repositories.
pub(super) type Manifests = HashMap<RepositoryName, HashSet<Digest>>;

/// What was pulled and belongs to the current note.
#[derive(Debug)]
pub(super) struct Recorded {
    manifests: Manifests,
    /// Counts the notes from 1 on.
    number: u32,
    /// How many bytes they take in a note.
    bytes: usize,
    /// Something is not written yet.
    is_new: bool,
    /// There was no pull more than what is recorded.
    is_whole: bool,
    /// Where the current note is, once it was begun.
    place: Option<Place>,
    /// The day of the last note.
    noted: Option<String>,
}

/// A note that is to be written.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) place: Place,
    pub(super) text: Bytes,
    /// What to record again if it cannot be written, where the next pulls belong to another note.
    moved: Option<(Manifests, bool)>,
}

impl Default for Recorded {
    fn default() -> Self {
        Self { manifests: HashMap::new(), number: 1, bytes: 0, is_new: false, is_whole: true, place: None, noted: None }
    }
}

impl Recorded {
    /// The number of the current note.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Records a pull. Returns whether the note should be written now.
    pub(super) fn insert(&mut self, name: &RepositoryName, digest: Digest) -> bool {
        if self.manifests.get(name).is_some_and(|digests| digests.contains(&digest)) {
            return false;
        }
        if self.bytes > MOST {
            (self.is_new, self.is_whole) = (true, false);
            return true;
        }
        let digests = self.manifests.entry(name.clone()).or_insert_with(|| {
            self.bytes += name.as_str().len() + 8;
            HashSet::new()
        });
        digests.insert(digest);
        self.bytes += DIGEST + digest.algorithm().size() * 2 - 64;
        self.is_new = true;
        self.bytes > MANY
    }

    /// The note that is to be written, if any. `since` is when the process began to serve, if it does.
    pub(super) fn due(&mut self, now: SystemTime, since: Option<SystemTime>) -> Option<Due> {
        let here = Place::of(now);
        let begins_day = since.is_some() && self.noted.as_deref() != Some(here.day.as_str());
        let place = self.place.clone().unwrap_or_else(|| here.clone());
        let is_over = !place.is_same_hour(&here);
        if !self.is_new && !begins_day {
            if is_over {
                // All of it is written.
                self.take();
            }
            return None;
        }
        let is_last = is_over || self.bytes > MANY || !self.is_whole;
        let text = note::compose(since, self.is_whole, &self.manifests);
        let moved = is_last.then(|| self.take());
        self.is_new = false;
        self.place = (!is_last).then(|| place.clone());
        Some(Due { place, text, moved })
    }

    /// A note was written, or not. Returns whether it is the first of a day.
    pub(super) fn finish(&mut self, due: Due, written: bool) -> bool {
        if written {
            let is_first = self.noted.as_deref() != Some(due.place.day.as_str());
            self.noted = Some(due.place.day);
            return is_first;
        }
        self.is_new = true;
        if let Some((manifests, is_whole)) = due.moved {
            self.place = Some(due.place);
            self.is_whole &= is_whole;
            for (name, digests) in manifests {
                for digest in digests {
                    self.insert(&name, digest);
                }
            }
        }
        false
    }

    fn take(&mut self) -> (Manifests, bool) {
        (self.bytes, self.place) = (0, None);
        self.number = self.number.checked_add(1).unwrap_or(1);
        (std::mem::take(&mut self.manifests), std::mem::replace(&mut self.is_whole, true))
    }
}
