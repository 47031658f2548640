//! Which connection fetches which segment of a blob. No I/O.
//!
//! A blob is cut into segments. A connection that is free takes, in this order: what a client waits for and no
//! connection will bring soon; half of what a slow connection has before it, when all others are far ahead of that one;
//! the first bytes that no connection has; and in the end half of what any slow connection has before it. One slow
//! connection must hold up neither the middle nor the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::intervals::Intervals;
use crate::oci::Slice;

/// The first segment, which is asked for before the size is known; and the least of the others, but near the end.
pub(super) const SEGMENT: u64 = 8 << 20;
/// Segments begin and end at multiples of it, as far as connections do not break: clients cannot cut a blob into
/// smaller pieces, however small their ranges are.
const GRAIN: u64 = 1 << 20;
/// The largest: bytes that come before the segment of the slowest connection wait in the spool.
const LARGEST: u64 = 64 << 20;
/// So many segments behind the others, a slow connection delays all clients.
const BEHIND: u64 = 4;
/// Into how many segments a blob is cut, between the two bounds.
const SEGMENTS: u64 = 64;
/// The least near the end, where segments become shorter so that all connections end at about the same time.
const NEAR_END: u64 = 4 << 20;
/// The least that is worth a request of its own when a segment is shared.
const WORTH: u64 = 2 << 20;
/// A segment that is not complete after so long may be shared. Bytes that the slow connection has under way are lost.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// The state of all segments.
#[derive(Debug)]
pub(super) struct Plan {
    segment: u64,
    /// The size of the last segment of a connection that had no other beside it: they double, since there each new
    /// request is a pause.
    alone: u64,
    /// What no connection has.
    untaken: Intervals,
    /// No connection had a segment from here on yet, but for those that clients wait for.
    furthest: u64,
    /// Segments that are being fetched, by their beginning.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// So far its connection has received.
    received: u64,
    end: u64,
    since: Instant,
}

impl Open {
    const fn ahead(&self) -> u64 {
        self.end - self.received
    }
}

/// A segment that a connection took, known by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    /// It may turn out to be shorter.
    pub(super) end: u64,
}

impl Segment {
    pub(super) const fn slice(self) -> Slice {
        Slice { start: self.start, end: self.end }
    }
}

impl Plan {
    /// For a blob of `size` bytes (`u64::MAX`: unknown) whose first `begun` bytes, or all of it, come from one
    /// connection.
    pub(super) fn new(size: u64, begun: u64, now: Instant) -> (Self, Segment) {
        let end = begun.min(size);
        let mut plan = Self {
            segment: (size / SEGMENTS).clamp(SEGMENT, LARGEST) / GRAIN * GRAIN,
            alone: SEGMENT,
            untaken: Intervals::of(end, size),
            furthest: end,
            open: BTreeMap::new(),
        };
        let first = plan.begin(0, end, now);
        (plan, first)
    }

    /// Whether there are bytes that no connection has.
    pub(super) fn has_untaken(&self) -> bool {
        !self.untaken.is_empty()
    }

    /// Takes the segment to fetch next; `None` when all of the blob is being fetched. `wanted` are the positions at
    /// which clients wait.
    pub(super) fn take(&mut self, wanted: &[u64], now: Instant) -> Option<Segment> {
        let behind = self.furthest.saturating_sub(BEHIND * self.segment);
        self.take_wanted(wanted, now)
            .or_else(|| self.share(now, |open| open.end <= behind))
            .or_else(|| self.take_first(now))
            .or_else(|| self.share(now, |_| true))
    }

    /// Takes the first segment that a client waits for and that no connection will bring soon.
    pub(super) fn take_wanted(&mut self, wanted: &[u64], now: Instant) -> Option<Segment> {
        let wanted = wanted.iter().copied().find(|position| self.comes_late(*position))?;
        let start = wanted / GRAIN * GRAIN;
        if let Some((from, end)) = self.untaken.around(wanted) {
            let start = from.max(start);
            let end = end.min(start + SEGMENT);
            self.untaken.remove(start, end);
            return Some(self.begin(start, end, now));
        }
        let (_, open) = self.open.range_mut(..start).next_back()?;
        let end = std::mem::replace(&mut open.end, start);
        Some(self.begin(start, end, now))
    }

    /// Whether one of the positions is neither here nor will it be soon.
    pub(super) fn any_comes_late(&self, wanted: &[u64]) -> bool {
        wanted.iter().any(|position| self.comes_late(*position))
    }

    fn comes_late(&self, position: u64) -> bool {
        let mut before = self.open.range(..=position);
        let far = |open: &Open| position < open.end && position > open.received + SEGMENT;
        self.untaken.around(position).is_some() || before.next_back().is_some_and(|(_, open)| far(open))
    }

    fn take_first(&mut self, now: Instant) -> Option<Segment> {
        let (start, gap_end) = self.untaken.first()?;
        let len = if self.open.is_empty() {
            self.alone = LARGEST.min(self.alone * 2);
            self.segment.max(self.alone)
        } else {
            let share = self.untaken.len() / (2 * (self.open.len() as u64 + 1));
            (share / GRAIN * GRAIN).clamp(NEAR_END, self.segment)
        };
        let end = gap_end.min(start + len);
        self.untaken.remove(start, end);
        self.furthest = self.furthest.max(end);
        Some(self.begin(start, end, now))
    }

    /// Half of the bytes that one of the slow connections that `may` be helped has before it, if it is worth it.
    fn share(&mut self, now: Instant, may: impl Fn(&Open) -> bool) -> Option<Segment> {
        let slow = self.open.values_mut().filter(|open| {
            let is_slow = now.duration_since(open.since) >= SLOW;
            is_slow && open.ahead() >= 2 * WORTH && may(open)
        });
        let slowest = slow.max_by_key(|open| open.ahead())?;
        let middle = (slowest.received + slowest.ahead() / 2).next_multiple_of(GRAIN);
        let end = std::mem::replace(&mut slowest.end, middle);
        Some(self.begin(middle, end, now))
    }

    fn begin(&mut self, start: u64, end: u64, since: Instant) -> Segment {
        if start < end {
            self.open.insert(start, Open { received: start, end, since });
        }
        Segment { start, end }
    }

    /// A connection received `len` more bytes of its segment: how many of them are still its own. Fewer than `len`
    /// means that the segment is complete.
    pub(super) fn receive(&mut self, segment: Segment, len: u64) -> u64 {
        let Some(open) = self.open.get_mut(&segment.start) else {
            return 0;
        };
        let own = len.min(open.ahead());
        open.received += own;
        if open.received == open.end {
            self.open.remove(&segment.start);
        }
        own
    }

    /// Whether all of a segment was received.
    pub(super) fn is_received(&self, segment: Segment) -> bool {
        !self.open.contains_key(&segment.start)
    }

    /// A connection is gone: others may take the bytes that it did not receive.
    pub(super) fn give_up(&mut self, segment: Segment) {
        if let Some(open) = self.open.remove(&segment.start) {
            self.untaken.insert(open.received, open.end);
        }
    }

    /// The blob, whose size was unknown, ends where its one connection is.
    pub(super) fn end(&mut self, segment: Segment) {
        self.open.remove(&segment.start);
        self.untaken.clear();
    }

    /// Everything was received.
    pub(super) fn is_complete(&self) -> bool {
        self.untaken.is_empty() && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(segment: Option<Segment>) -> Option<(u64, u64)> {
        segment.map(|segment| (segment.start / MIB, segment.end / MIB))
    }

    #[test]
    fn segments_are_taken_in_order_and_become_shorter_near_the_end() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(30 * MIB, SEGMENT, now);
        assert_eq!(of(Some(first)), Some((0, 8)));
        assert_eq!(of(plan.take(&[], now)), Some((8, 13)));
        assert_eq!(of(plan.take(&[], now)), Some((13, 17)));
        plan.receive(first, 8 * MIB);
        assert!(plan.is_received(first) && plan.has_untaken() && !plan.is_complete());
    }

    #[test]
    fn large_blobs_have_large_segments() {
        for (size, segment) in [(MIB, 8 * MIB), (1 << 30, 16 * MIB), (20 << 30, 64 * MIB)] {
            assert_eq!(Plan::new(size, SEGMENT, Instant::now()).0.segment, segment);
        }
    }

    #[test]
    fn what_is_given_up_comes_first_again() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(20 * MIB, SEGMENT, now);
        let second = plan.take(&[], now).unwrap();
        plan.receive(first, MIB);
        plan.give_up(first);
        assert_eq!(of(plan.take(&[], now)), Some((1, 5)));
        assert_eq!(plan.receive(second, 100 * MIB), second.end - second.start);
    }

    #[test]
    fn what_a_client_waits_for_comes_first() {
        let now = Instant::now();
        let (mut plan, _) = Plan::new(1 << 30, SEGMENT, now);
        // What a connection will bring in a moment needs no other.
        assert!(!plan.any_comes_late(&[0, 7 * MIB]) && plan.any_comes_late(&[7 * MIB, 100 * MIB]));
        assert_eq!(of(plan.take_wanted(&[7 * MIB], now)), None);
        assert_eq!(of(plan.take(&[7 * MIB, 100 * MIB, 500 * MIB], now)), Some((100, 108)));
        assert_eq!(of(plan.take(&[7 * MIB, 100 * MIB, 96 * MIB], now)), Some((96, 100)));
        assert_eq!(of(plan.take(&[7 * MIB, 100 * MIB, 96 * MIB], now)), Some((8, 24)));
        // Half of a segment that is long underway.
        assert_eq!(of(plan.take(&[20 * MIB], now)), Some((20, 24)));
        assert_eq!(of(plan.take(&[16 * MIB], now)), Some((24, 40)));
    }

    #[test]
    fn a_slow_one_shares_what_it_has_before_it() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(8 * MIB, SEGMENT, now);
        assert_eq!(plan.take(&[], now), None);
        let half = plan.take(&[], now + SLOW).unwrap();
        assert_eq!(of(Some(half)), Some((4, 8)));
        assert_eq!(plan.receive(first, 8 * MIB), 4 * MIB);
        assert!(plan.is_received(first));
        plan.receive(half, 3 * MIB);
        assert_eq!(plan.take(&[], now + SLOW), None);
    }

    #[test]
    fn one_that_is_far_behind_is_helped_before_anything_new_begins() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(1 << 30, SEGMENT, now);
        let others: Vec<_> = (0..4).map(|_| plan.take(&[], now).unwrap()).collect();
        for other in others {
            assert_eq!(plan.receive(other, 1 << 30), 16 * MIB);
        }
        let later = plan.take(&[], now + SLOW).unwrap();
        assert_eq!(of(Some(later)), Some((4, 8)));
        assert_eq!(plan.receive(first, 8 * MIB), 4 * MIB);
        assert_eq!(plan.take(&[], now + SLOW).unwrap().start, (8 + 4 * 16) * MIB);
    }

    proptest! {
        /// Connections that do whatever they like, and clients that wait anywhere: every byte is received once.
        #[test]
        fn every_byte_comes_once(
            size in 1..200_u64,
            begun in 1..20_u64,
            moves in prop::collection::vec((0..4_usize, 0..5_u8, 1..(12 * MIB), 0..(200 * MIB)), 0..300),
        ) {
            let size = size * MIB;
            let mut now = Instant::now();
            let (mut plan, first) = Plan::new(size, begun * MIB, now);
            let mut taken = [Some((first, 0)), None, None, None];
            let mut there = Intervals::default();
            let mut step = |plan: &mut Plan, now, number: usize, what: u8, len: u64, wanted: u64| {
                let Some((segment, position)) = taken[number] else {
                    let late = plan.any_comes_late(&[wanted]);
                    let taking = plan.take(&[wanted], now);
                    // What a client waits for is taken, wherever a connection broke.
                    prop_assert!(!late || taking.is_some_and(|it| it.start <= wanted && wanted < it.end));
                    prop_assert!(taking.is_none_or(|segment| segment.start < segment.end && segment.end <= size));
                    taken[number] = taking.map(|segment| (segment, segment.start));
                    return Ok(());
                };
                if what == 0 {
                    plan.give_up(segment);
                    taken[number] = None;
                    return Ok(());
                }
                let own = plan.receive(segment, len);
                let before = there.len();
                there.insert(position, position + own);
                prop_assert_eq!(there.len(), before + own);
                taken[number] = (!plan.is_received(segment)).then_some((segment, position + own));
                Ok(())
            };
            for (number, what, len, wanted) in moves {
                now += Duration::from_millis(200);
                step(&mut plan, now, number, what, len, wanted)?;
            }
            // In the end, all of them fetch the rest.
            for round in 0..10_000 {
                if plan.is_complete() {
                    break;
                }
                now += Duration::from_millis(200);
                step(&mut plan, now, round % 4, 1, 7 * MIB, 0)?;
            }
            prop_assert!(plan.is_complete());
            prop_assert_eq!(there.end_from(0), size);
        }
    }
}
