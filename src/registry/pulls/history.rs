//! When each manifest was last pulled, from the notes of all processes.
//!
//! The notes are read from the newest on, as far as they tell everything: to the first day without a note, to a night in
//! which no process recorded, to a note that is corrupt or not whole, or until there is no memory for more. Before that, nothing is known, and nothing counts as
//! unpulled.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;

use super::days::Days;
use super::note::{self, Place, begin_of_day};
use super::recorded::MOST;
use crate::oci::{Digest, RepositoryName};
use crate::registry::runtime::buffered;
use crate::store::{Key, Store, StoreError};

/// How many notes are read at once; each has up to [`MOST`] bytes and a few more.
const PARALLEL: usize = 8;
/// The manifests whose pulls are known: 36 MiB, and half as much again while the table grows.
const MANIFESTS: usize = 1_800_000;
/// The most notes: one an hour of 20 replicas for a year. The newest ones count.
const NOTES: usize = 200_000;
/// When manifests were last pulled.
#[derive(Debug)]
pub(in crate::registry) struct PullHistory {
    /// By a hash of repository and digest, in minutes since 1970. Two manifests with the same hash count as pulled when
    /// one of them was.
    last: HashMap<u64, u32>,
    /// The same of repositories, by a hash of their names.
    repositories: HashMap<u64, u32>,
    hasher: RandomState,
    most: usize,
    recorded_since: SystemTime,
    /// Not every note that was written since then tells all.
    is_partial: bool,
    skipped: SkippedNotes,
}

/// Objects among the notes that say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct SkippedNotes {
    /// Notes that are corrupt, or of a later version.
    pub(in crate::registry) unreadable: u64,
    /// Objects that are no notes.
    pub(in crate::registry) foreign: u64,
}

/// A note that was listed.
#[derive(Debug)]
struct Listed {
    place: Place,
    day: u64,
    /// When it was last written: after all pulls that it has.
    written: SystemTime,
}

impl PullHistory {
    /// Reads the notes since `oldest`. `now` is the bucket's clock.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry) async fn read(
        store: &Store,
        now: SystemTime,
        oldest: SystemTime,
    ) -> Result<Self, StoreError> {
        Self::read_some(store, now, oldest, NOTES).await
    }

    /// The same of the newest notes only.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry) async fn read_some(
        store: &Store,
        now: SystemTime,
        oldest: SystemTime,
        most_notes: usize,
    ) -> Result<Self, StoreError> {
        let mut history = Self::new(oldest, MANIFESTS);
        let mut days = Days::default();
        let listed = history.list(store, oldest, most_notes).await?;
        let mut texts = buffered(PARALLEL, listed, |note| async move { (read(store, &note).await, note) });
        while let Some((text, note)) = texts.next().await {
            if !history.add(&note, text?.as_deref(), &mut days) {
                break;
            }
        }
        drop(texts);
        history.recorded_since = history.recorded_since.max(days.known_since(now, oldest));
        Ok(history)
    }

    /// Reads the notes that were written since then, for [`may_be_pulled`](Self::may_be_pulled).
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry) async fn read_newest(store: &Store, since: SystemTime) -> Result<Self, StoreError> {
        let mut history = Self::new(since, MANIFESTS);
        // A note is written for a while after its day, if the bucket did not take it.
        let from = since.checked_sub(Duration::from_secs(note::DAY)).unwrap_or(since);
        let mut listed = history.list(store, from, NOTES).await?;
        listed.retain(|note| note.written >= since);
        let mut texts = buffered(PARALLEL, listed, |note| async move { (read(store, &note).await, note) });
        while let Some((text, note)) = texts.next().await {
            if !history.add(&note, text?.as_deref(), &mut Days::default()) {
                // What it does not tell may be any manifest.
                history.is_partial = true;
            }
        }
        drop(texts);
        Ok(history)
    }

    /// Whether a note has a manifest, or may have had it.
    pub(in crate::registry) fn may_be_pulled(&self, name: &str, digest: &Digest) -> bool {
        self.is_partial || self.last.contains_key(&self.hash(name, digest))
    }

    /// When a manifest was last pulled, or somewhat later; `None`: not since [`recorded_since`](Self::recorded_since).
    pub(in crate::registry) fn last(&self, name: &RepositoryName, digest: &Digest) -> Option<SystemTime> {
        let minutes = self.last.get(&self.hash(name.as_str(), digest))?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_mins(u64::from(*minutes)))
    }

    /// When anything of a repository was last pulled, likewise.
    pub(in crate::registry) fn last_of_repository(&self, name: &RepositoryName) -> Option<SystemTime> {
        let minutes = self.repositories.get(&self.hasher.hash_one(name.as_str()))?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_mins(u64::from(*minutes)))
    }

    /// Since when all pulls are known.
    pub(in crate::registry) const fn recorded_since(&self) -> SystemTime {
        self.recorded_since
    }

    /// What lies among the notes and says nothing.
    pub(in crate::registry) const fn skipped(&self) -> SkippedNotes {
        self.skipped
    }

    fn new(recorded_since: SystemTime, most: usize) -> Self {
        let (hasher, skipped) = (RandomState::new(), SkippedNotes::default());
        let (last, repositories) = (HashMap::new(), HashMap::new());
        Self { last, repositories, hasher, most, recorded_since, is_partial: false, skipped }
    }

    /// The notes of the days since `oldest`, from the last written on.
    async fn list(&mut self, store: &Store, oldest: SystemTime, most_notes: usize) -> Result<Vec<Listed>, StoreError> {
        let (mut found, mut after) = (VecDeque::new(), Some(Place::of(oldest).day));
        loop {
            let (listed, more) = store.objects(Key::PullNotes, after.as_deref(), 1000).await?;
            after = listed.last().map(|object| object.path.clone());
            for object in listed {
                let place = Place::parse(&object.path);
                let Some((place, day)) = place.and_then(|place| place.number_of_day().map(|day| (place, day))) else {
                    self.skipped.foreign += 1;
                    continue;
                };
                let end = begin_of_day(day + 1);
                found.push_back(Listed { place, day, written: object.modified.unwrap_or(end) });
                if found.len() > most_notes
                    && let Some(dropped) = found.pop_front()
                {
                    self.recorded_since = self.recorded_since.max(begin_of_day(dropped.day + 1));
                }
            }
            if !more || after.is_none() {
                break;
            }
        }
        let mut found = Vec::from(found);
        found.sort_by_key(|note| std::cmp::Reverse(note.written));
        Ok(found)
    }

    /// Adds a note that is older than those before it; `text` is `None` if it could not be read. Returns whether those
    /// before it count.
    fn add(&mut self, listed: &Listed, text: Option<&[u8]>, days: &mut Days) -> bool {
        let minutes = listed.written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().div_ceil(60);
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
        let (last, repositories, hasher, most) = (&mut self.last, &mut self.repositories, &self.hasher, self.most);
        let mut is_full = false;
        let note = text.and_then(|text| {
            note::parse(text, |name, digest| {
                let hash = hasher.hash_one((name, digest));
                is_full |= last.len() >= most && !last.contains_key(&hash);
                if !is_full {
                    last.entry(hash).or_insert(minutes);
                    repositories.entry(hasher.hash_one(name)).or_insert(minutes);
                }
            })
        });
        let Some(note) = note else {
            let day = &listed.place.day;
            tracing::warn!(
                day,
                hour = listed.place.hour,
                "a note of pulls cannot be read: what it had counts as pulled"
            );
            self.skipped.unreadable += 1;
            self.recorded_since = self.recorded_since.max(listed.written);
            days.add(listed.day, listed.written, listed.written);
            return false;
        };
        if let Some(since) = note.since {
            days.add(listed.day, since, listed.written);
        }
        let is_whole = note.is_whole && !is_full;
        if !is_whole {
            let (day, hour) = (&listed.place.day, listed.place.hour);
            let why = if is_full { "there is no memory for more" } else { "it had no room for all pulls of its hour" };
            tracing::warn!(day, hour, why, "a note of pulls does not tell all: nothing counts as unpulled before it");
            self.recorded_since = self.recorded_since.max(listed.written);
        }
        is_whole
    }

    fn hash(&self, name: &str, digest: &Digest) -> u64 {
        self.hasher.hash_one((name, digest))
    }
}

/// The text of a note; `None` if it is gone or larger than any note.
async fn read(store: &Store, note: &Listed) -> Result<Option<Bytes>, StoreError> {
    let key = Key::PullNote(&note.place.day, note.place.hour, &note.place.id);
    // Digests of sha512 and the names come on top.
    match store.get_up_to(key, 2 * MOST as u64).await {
        Ok(object) => Ok(object.map(|object| object.bytes)),
        Err(StoreError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::registry::pulls::note::Manifests;

    /// 2024-10-04T00:00:00Z
    const TODAY: u64 = 20_000;

    fn at(day: u64, hours: u64) -> SystemTime {
        begin_of_day(day) + Duration::from_hours(hours)
    }

    fn digest(number: usize) -> Digest {
        Digest::of(Algorithm::Sha256, &number.to_be_bytes())
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    /// A note that was last written at the end of this hour.
    fn note(day: u64, hour: u64, since: Option<SystemTime>, whole: bool, pulled: &[usize]) -> (Listed, Bytes) {
        let digests = pulled.iter().map(|number| digest(*number)).collect();
        let manifests = Manifests::from_iter([(name("a"), digests)]);
        let place = Place::of(at(day, hour));
        (Listed { place, day, written: at(day, hour + 1) }, note::compose(since, whole, &manifests))
    }

    /// Reads notes, which come in any order.
    fn read(mut notes: Vec<(Listed, Bytes)>, now: SystemTime, oldest: SystemTime, most: usize) -> PullHistory {
        notes.sort_by_key(|(listed, _)| std::cmp::Reverse(listed.written));
        let (mut history, mut days) = (PullHistory::new(oldest, most), Days::default());
        for (listed, text) in &notes {
            if !history.add(listed, Some(text), &mut days) {
                break;
            }
        }
        history.recorded_since = history.recorded_since.max(days.known_since(now, oldest));
        history
    }

    #[test]
    fn the_last_pull_counts() {
        let begin = Some(at(TODAY - 9, 0));
        let days = (TODAY - 9..=TODAY).map(|day| note(day, 3, begin, true, &[1]));
        let others = [note(TODAY - 5, 10, begin, true, &[1, 2]), note(TODAY - 7, 10, begin, true, &[2, 3])];
        let history = read(days.chain(others).collect(), at(TODAY, 12), at(TODAY - 30, 0), 100);
        let last = |number| history.last(&name("a"), &digest(number));
        assert_eq!(last(1), Some(at(TODAY, 4)));
        assert_eq!(last(2), Some(at(TODAY - 5, 11)));
        assert_eq!(last(3), Some(at(TODAY - 7, 11)));
        assert_eq!(last(4), None);
        assert_eq!(history.last(&name("b"), &digest(1)), None);
        assert_eq!(history.recorded_since(), at(TODAY - 9, 0));
        assert_eq!(history.skipped(), SkippedNotes::default());
    }

    #[test]
    fn a_day_without_a_note_is_not_known() {
        let begin = Some(at(TODAY - 20, 0));
        let empty = |day| note(day, 0, begin, true, &[]);
        let since = |days: &[u64], now| {
            let notes = days.iter().map(|day| empty(*day)).collect();
            read(notes, now, at(TODAY - 10, 5), 100).recorded_since()
        };
        let all: Vec<u64> = (TODAY - 10..=TODAY).collect();
        assert_eq!(since(&all, at(TODAY, 12)), at(TODAY - 10, 5));
        let without = |day| all.iter().copied().filter(|it| *it != day).collect::<Vec<_>>();
        assert_eq!(since(&without(TODAY - 4), at(TODAY, 12)), at(TODAY - 3, 0));
        assert_eq!(since(&without(TODAY - 10), at(TODAY, 12)), at(TODAY - 9, 0));
        // The first note of a day may take a while, and no longer.
        assert_eq!(since(&without(TODAY), begin_of_day(TODAY) + Duration::from_mins(59)), at(TODAY - 10, 5));
        assert_eq!(since(&without(TODAY), at(TODAY, 1)), at(TODAY, 1));
        assert_eq!(since(&[], at(TODAY, 12)), at(TODAY, 12));
        assert_eq!(since(&[], at(TODAY, 0)), at(TODAY, 0));
    }

    /// A version that records pulls came, went and came again.
    #[test]
    fn a_night_in_which_no_process_recorded_is_not_known() {
        let since = |last: u64, begin: SystemTime| {
            let before = (TODAY - 9..TODAY - 2).map(|day| note(day, 3, Some(at(TODAY - 9, 0)), true, &[1]));
            let rolled_back = note(TODAY - 3, last, Some(at(TODAY - 9, 0)), true, &[1]);
            let after = (TODAY - 2..=TODAY).map(|day| note(day, 12, Some(begin), true, &[1]));
            let notes = before.chain([rolled_back]).chain(after).collect();
            read(notes, at(TODAY, 14), at(TODAY - 30, 0), 100).recorded_since()
        };
        let known = at(TODAY - 9, 0);
        assert_eq!(since(10, at(TODAY - 2, 9)), at(TODAY - 2, 9));
        assert_eq!(since(10, at(TODAY - 2, 0)), known, "the same process, without pulls in between");
        // Replaced at night: notes were written at midnight, and an hour before it.
        let minute = Duration::from_mins(1);
        for (last, begin, expected) in [
            (23, at(TODAY - 2, 1), known),
            (23, at(TODAY - 2, 1) + minute, at(TODAY - 2, 1) + minute),
            (22, at(TODAY - 2, 0) + minute, at(TODAY - 2, 0) + minute),
        ] {
            assert_eq!(since(last, begin), expected);
        }
    }

    #[test]
    fn the_first_process_tells_since_when_there_are_notes() {
        let notes = |since: Option<SystemTime>| vec![note(TODAY, 14, since, true, &[1])];
        let now = at(TODAY, 20);
        let history = read(notes(Some(at(TODAY, 14))), now, at(TODAY - 30, 0), 100);
        assert_eq!(history.recorded_since(), at(TODAY, 14));
        // A process that serves no client knows only of itself.
        let history = read(notes(None), now, at(TODAY - 30, 0), 100);
        assert_eq!(history.recorded_since(), now);
        assert!(history.last(&name("a"), &digest(1)).is_some());
    }

    #[test]
    fn nothing_is_known_before_a_note_that_does_not_tell_all() {
        let begin = Some(at(TODAY - 9, 0));
        let days = |whole: bool, pulled: &[usize]| {
            let odd = [note(TODAY - 3, 7, begin, whole, pulled)];
            (TODAY - 9..=TODAY).map(|day| note(day, 3, begin, true, &[1])).chain(odd).collect::<Vec<_>>()
        };
        let read = |notes, most| read(notes, at(TODAY, 12), at(TODAY - 30, 0), most);
        assert_eq!(read(days(true, &[2]), 100).recorded_since(), at(TODAY - 9, 0));
        assert_eq!(read(days(false, &[2]), 100).recorded_since(), at(TODAY - 3, 8));
        // There is no memory for more.
        let history = read(days(true, &[1, 2]), 1);
        assert_eq!(history.recorded_since(), at(TODAY - 3, 8));
        assert_eq!((history.last.len(), history.last(&name("a"), &digest(1))), (1, Some(at(TODAY, 4))));
        let mut corrupt = days(true, &[2]);
        corrupt.last_mut().unwrap().1 = Bytes::from_static(b"{");
        let history = read(corrupt, 100);
        assert_eq!(history.recorded_since(), at(TODAY - 3, 8));
        assert_eq!(history.skipped(), SkippedNotes { unreadable: 1, foreign: 0 });
    }
}
