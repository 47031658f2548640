//! Which bytes of a blob are somewhere. No I/O, and nothing about where that is.

use std::collections::BTreeMap;

/// A set of positions, as intervals that neither overlap nor touch: from, to (exclusive).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// One interval; an empty one is none.
    pub(super) fn of(start: u64, end: u64) -> Self {
        let mut all = Self::default();
        all.insert(start, end);
        all
    }

    /// Adds the positions from `start` to `end`.
    pub(super) fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut from, mut to) = (start, end);
        while let Some((&before, &until)) = self.0.range(..=to).next_back()
            && until >= from
        {
            self.0.remove(&before);
            (from, to) = (from.min(before), to.max(until));
        }
        self.0.insert(from, to);
    }

    /// Takes the positions from `start` to `end` out.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        while start < end
            && let Some((&from, &to)) = self.0.range(..end).next_back()
            && to > start
        {
            self.0.remove(&from);
            if end < to {
                self.0.insert(end, to);
            }
            if from < start {
                self.0.insert(from, start);
            }
        }
    }

    /// The interval that contains `position`.
    pub(super) fn around(&self, position: u64) -> Option<(u64, u64)> {
        let (&from, &to) = self.0.range(..=position).next_back()?;
        (position < to).then_some((from, to))
    }

    /// How far it goes from `position` on without a gap; `position` itself where it begins with one.
    pub(super) fn end_from(&self, position: u64) -> u64 {
        self.around(position).map_or(position, |(_, to)| to)
    }

    /// The first interval.
    pub(super) fn first(&self) -> Option<(u64, u64)> {
        self.0.first_key_value().map(|(&from, &to)| (from, to))
    }

    /// The first positions between `start` and `end`, as one interval.
    pub(super) fn first_within(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let around = self.around(start).map(|(_, to)| (start, to));
        let (from, to) = around.or_else(|| self.0.range(start..end).next().map(|(&from, &to)| (from, to)))?;
        (from < end).then_some((from, to.min(end)))
    }

    /// The number of positions.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_become_one_and_a_hole_makes_two() {
        let mut all = Intervals::of(0, 4);
        all.insert(8, 12);
        assert_eq!((all.end_from(2), all.end_from(5), all.around(9)), (4, 5, Some((8, 12))));
        all.insert(4, 8);
        assert_eq!((all.first(), all.len()), (Some((0, 12)), 12));
        all.remove(5, 6);
        assert_eq!((all.around(4), all.around(5), all.around(6)), (Some((0, 5)), None, Some((6, 12))));
        all.insert(7, 7);
        assert_eq!(all.len(), 11);
    }

    proptest! {
        /// They are the set of positions that a plain set has.
        #[test]
        fn as_a_plain_set(moves in prop::collection::vec((any::<bool>(), 0..40_u64, 0..12_u64), 0..60)) {
            let (mut all, mut plain) = (Intervals::default(), BTreeSet::new());
            for (adds, start, len) in moves {
                if adds {
                    all.insert(start, start + len);
                    plain.extend(start..start + len);
                } else {
                    all.remove(start, start + len);
                    plain.retain(|position| !(start..start + len).contains(position));
                }
                prop_assert_eq!(all.len(), plain.len() as u64);
                prop_assert_eq!(all.is_empty(), plain.is_empty());
                prop_assert_eq!(all.first().map(|(from, _)| from), plain.first().copied());
                for position in 0..60 {
                    let within = plain.range(position..position + 7).next().map(|from| {
                        let end = (*from..position + 7).find(|next| !plain.contains(next));
                        (*from, end.unwrap_or(position + 7))
                    });
                    prop_assert_eq!(all.first_within(position, position + 7), within);
                    let end = (position..60).find(|position| !plain.contains(position)).unwrap_or(position);
                    prop_assert_eq!(all.end_from(position), end);
                }
            }
        }
    }
}
