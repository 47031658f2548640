//! The pulls that a process has to note, bounded in bytes.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::note::{self, Manifests, Place};
use crate::oci::{Digest, RepositoryName};
use bytes::Bytes;

/// The bytes of the largest note: some 50,000 manifests.
pub(super) const MOST: usize = 4 << 20;
/// From so many bytes on, a note is written at once, and another begins.
const MANY: usize = MOST / 2;
/// The bytes that a digest takes in a note: with its quotes and a comma.
const DIGEST: usize = 75;

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
    /// It has all pulls of its time.
    pub(super) is_whole: bool,
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

    /// Whether a manifest of the repository is recorded, or this one.
    pub(super) fn contains(&self, name: &RepositoryName, digest: Option<&Digest>) -> bool {
        let of_repository = self.manifests.get(name);
        of_repository.is_some_and(|digests| digest.is_none_or(|digest| digests.contains(digest)))
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
        let is_over = self.place.as_ref().is_some_and(|place| !place.is_same_hour(&here));
        if is_over && !self.is_new {
            // All of it is written.
            self.take();
        }
        let begins_day = since.is_some() && self.noted.as_deref() != Some(here.day.as_str());
        if !self.is_new && !begins_day {
            return None;
        }
        let is_over = is_over && self.is_new;
        let place = self.place.clone().unwrap_or(here);
        let is_last = is_over || self.bytes > MANY || !self.is_whole;
        let is_whole = self.is_whole;
        let text = note::compose(since, is_whole, &self.manifests);
        let moved = is_last.then(|| self.take());
        self.is_new = false;
        self.place = (!is_last).then(|| place.clone());
        Some(Due { place, text, is_whole, moved })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oci::Algorithm;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn digest(number: usize) -> Digest {
        Digest::of(Algorithm::Sha256, &number.to_be_bytes())
    }

    /// This many minutes after 10:00 of a day.
    fn at(minutes: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(20_000 * 24 + 10) + Duration::from_mins(minutes)
    }

    fn pulls(text: &[u8]) -> HashSet<(String, Digest)> {
        let mut found = HashSet::new();
        note::parse(text, |name, digest| assert!(found.insert((name.to_owned(), *digest)))).unwrap();
        found
    }

    #[test]
    fn a_note_has_all_of_its_hour() {
        let (mut recorded, serves) = (Recorded::default(), Some(at(0)));
        recorded.insert(&name("a"), digest(1));
        let first = recorded.due(at(15), serves).unwrap();
        let place = first.place.clone();
        assert_eq!((place.day.as_str(), place.hour), ("2024-10-04", 10));
        assert!(recorded.finish(first, true), "the first of a day");
        // Nothing new.
        recorded.insert(&name("a"), digest(1));
        assert!(recorded.due(at(30), serves).is_none());
        recorded.insert(&name("a/b"), digest(1));
        let second = recorded.due(at(45), serves).unwrap();
        assert_eq!((&second.place, pulls(&second.text).len()), (&place, 2));
        assert!(!recorded.finish(second, true));
        recorded.insert(&name("a"), digest(2));
        let number = recorded.number();
        let third = recorded.due(at(60), serves).unwrap();
        assert_eq!((&third.place, pulls(&third.text).len()), (&place, 3));
        recorded.finish(third, true);
        // The next hour begins another note, in which all counts anew.
        assert_ne!(recorded.number(), number);
        recorded.insert(&name("a"), digest(2));
        let fourth = recorded.due(at(75), serves).unwrap();
        assert_eq!((fourth.place.hour, pulls(&fourth.text)), (11, [("a".to_owned(), digest(2))].into()));
        assert_ne!(fourth.place.id, place.id);
    }

    #[test]
    fn a_quiet_hour_ends_its_note() {
        let (mut recorded, serves) = (Recorded::default(), Some(at(0)));
        recorded.insert(&name("a"), digest(1));
        let first = recorded.due(at(15), serves).unwrap();
        recorded.finish(first, true);
        let number = recorded.number();
        assert!(recorded.due(at(61), serves).is_none());
        // What memory has marked with the number before is recorded again.
        assert_ne!(recorded.number(), number);
        assert!(recorded.manifests.is_empty() && recorded.bytes == 0);
    }

    #[test]
    fn a_day_without_pulls_has_a_note() {
        let mut recorded = Recorded::default();
        assert!(recorded.due(at(0), None).is_none(), "no client is served");
        let note = recorded.due(at(0), Some(at(0))).unwrap();
        assert!(pulls(&note.text).is_empty());
        assert!(!recorded.finish(note, false));
        let again = recorded.due(at(15), Some(at(0))).unwrap();
        assert!(recorded.finish(again, true));
        assert!(recorded.due(at(30), Some(at(0))).is_none());
        let next = recorded.due(at(24 * 60), Some(at(0))).unwrap();
        assert!(recorded.finish(next, true));
    }

    #[test]
    fn what_is_not_written_is_written_later() {
        let (mut recorded, serves) = (Recorded::default(), Some(at(0)));
        recorded.insert(&name("a"), digest(1));
        let first = recorded.due(at(15), serves).unwrap();
        let place = first.place.clone();
        // A pull while the note is on its way.
        recorded.insert(&name("a"), digest(2));
        recorded.finish(first, false);
        let last = recorded.due(at(61), serves).unwrap();
        recorded.insert(&name("a"), digest(3));
        recorded.finish(last, false);
        let later = recorded.due(at(76), serves).unwrap();
        assert_eq!((&later.place, pulls(&later.text).len()), (&place, 3));
        recorded.finish(later, true);
        assert!(recorded.due(at(90), serves).is_none());
    }

    #[test]
    fn a_pull_while_the_last_note_of_an_hour_is_written_is_in_the_next() {
        let (mut recorded, serves) = (Recorded::default(), Some(at(0)));
        recorded.insert(&name("a"), digest(1));
        let first = recorded.due(at(15), serves).unwrap();
        recorded.finish(first, true);
        recorded.insert(&name("a"), digest(2));
        let last = recorded.due(at(60), serves).unwrap();
        recorded.insert(&name("a"), digest(3));
        recorded.finish(last, true);
        let next = recorded.due(at(75), serves).unwrap();
        assert_eq!((next.place.hour, pulls(&next.text)), (11, [("a".to_owned(), digest(3))].into()));
    }

    #[test]
    fn notes_are_bounded_and_say_when_they_are_not_whole() {
        let (mut recorded, serves) = (Recorded::default(), Some(at(0)));
        let urged = (0..100_000).position(|number| recorded.insert(&name("a/b"), digest(number))).unwrap();
        assert!(urged > 20_000, "{urged}");
        // It is written at once, and another begins.
        let many = recorded.due(at(2), serves).unwrap();
        assert!(many.text.len() <= MANY + 200 && recorded.manifests.is_empty());
        assert!(many.is_whole && note::parse(&many.text, |_, _| {}).unwrap().is_whole);
        // The bucket does not take it for long.
        recorded.finish(many, false);
        for number in 0..200_000 {
            recorded.insert(&name("a/b"), digest(number));
        }
        let most = recorded.due(at(30), serves).unwrap();
        assert!(most.text.len() <= MOST + 400, "{}", most.text.len());
        assert!(!most.is_whole && !note::parse(&most.text, |_, _| {}).unwrap().is_whole);
        recorded.finish(most, false);
        let again = recorded.due(at(45), serves).unwrap();
        assert!(!note::parse(&again.text, |_, _| {}).unwrap().is_whole);
        recorded.finish(again, true);
        recorded.insert(&name("a/b"), digest(1));
        let next = recorded.due(at(60), serves).unwrap();
        assert!(note::parse(&next.text, |_, _| {}).unwrap().is_whole);
    }
}
