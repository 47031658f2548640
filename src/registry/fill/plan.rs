//! Which connection fetches which segment of a blob, and how far the blob is. No I/O.
//!
//! A blob is cut into segments, of which each connection takes the first that no other has: the bytes that all clients
//! wait for come first. A connection that is done takes over half of what a slow one has before it, when all others are
//! far ahead of that one, or when there is nothing else left: one slow connection must hold up neither the middle nor
//! the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::oci::Slice;

/// The first segment, which is asked for before the size is known; and the least of all, but for the last of a blob.
pub(super) const SEGMENT: u64 = 8 << 20;
/// The largest: bytes that come before the segment of the slowest connection wait in the spool.
const LARGEST: u64 = 64 << 20;
/// So many segments behind the others, a slow connection delays all clients.
const BEHIND: u64 = 4;
/// Into how many segments a blob is cut, between the two bounds.
const SEGMENTS: u64 = 64;
/// The least that is worth a request of its own when the end is near.
const WORTH: u64 = 2 << 20;
/// A segment that is not complete after so long may be shared. Bytes that the slow connection has under way are lost.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// The state of all segments.
#[derive(Debug)]
pub(super) struct Plan {
    size: u64,
    segment: u64,
    /// The size of the last segment of a connection that had no other beside it: they double, since there each new
    /// request is a pause.
    alone: u64,
    /// No connection had a segment from here on yet.
    next: u64,
    /// Segments that are being fetched, by their beginning.
    open: BTreeMap<u64, Open>,
    /// Segments that were given up, from and to.
    left: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Open {
    /// So far its connection has received.
    received: u64,
    /// So far it is in the spool.
    written: u64,
    end: u64,
    /// Its connection is through with it.
    closed: bool,
    since: Instant,
}

/// A segment that a connection took, known by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    /// It may turn out to be shorter.
    pub(super) end: u64,
}

impl Segment {
    pub(super) const fn part(self) -> Slice {
        Slice { start: self.start, end: self.end }
    }
}

impl Plan {
    /// For a blob of `size` bytes (`u64::MAX`: unknown) whose first `begun` bytes, or all of it, come from one
    /// connection.
    pub(super) fn new(size: u64, begun: u64, now: Instant) -> (Self, Segment) {
        let end = begun.min(size);
        let mut plan = Self {
            size,
            segment: (size / SEGMENTS).clamp(SEGMENT, LARGEST),
            alone: SEGMENT,
            next: end,
            open: BTreeMap::new(),
            left: BTreeMap::new(),
        };
        let first = plan.begin(0, end, now);
        (plan, first)
    }

    /// How many segments no connection has yet.
    pub(super) const fn waiting(&self) -> u64 {
        (self.size - self.next).div_ceil(self.segment)
    }

    /// Takes the segment to fetch next; `None` when all of the blob is being fetched.
    pub(super) fn take(&mut self, now: Instant) -> Option<Segment> {
        if let Some((start, end)) = self.left.pop_first() {
            return Some(self.begin(start, end, now));
        }
        let behind = self.next.saturating_sub(BEHIND * self.segment);
        if let Some(half) = self.share(now, |open| open.end <= behind) {
            return Some(half);
        }
        if self.next < self.size {
            let (start, mut len) = (self.next, self.segment);
            if self.open.values().all(|open| open.closed) {
                self.alone = LARGEST.min(self.alone * 2);
                len = len.max(self.alone);
            }
            self.next = self.size.min(start + len);
            return Some(self.begin(start, self.next, now));
        }
        self.share(now, |_| true)
    }

    /// Half of the bytes that one of the slow connections that `may` be helped has before it, if it is worth it.
    fn share(&mut self, now: Instant, may: impl Fn(&Open) -> bool) -> Option<Segment> {
        let ahead = |open: &Open| open.end - open.received;
        let slow = self.open.values_mut().filter(|open| {
            let is_slow = now.duration_since(open.since) >= SLOW;
            !open.closed && is_slow && ahead(open) >= 2 * WORTH && may(open)
        });
        let slowest = slow.max_by_key(|open| ahead(open))?;
        let (middle, end) = (slowest.received + ahead(slowest) / 2, slowest.end);
        slowest.end = middle;
        Some(self.begin(middle, end, now))
    }

    fn begin(&mut self, start: u64, end: u64, since: Instant) -> Segment {
        let open = Open { received: start, written: start, end, closed: start == end, since };
        self.open.insert(start, open);
        Segment { start, end }
    }

    /// A connection received `len` more bytes of its segment: how many of them are still its own. Fewer than `len`
    /// means that the segment is complete.
    pub(super) fn receive(&mut self, segment: Segment, len: u64) -> u64 {
        let Some(open) = self.open.get_mut(&segment.start) else {
            return 0;
        };
        let own = len.min(open.end - open.received);
        open.received += own;
        open.closed |= open.received == open.end;
        own
    }

    /// Whether all of a segment was received.
    pub(super) fn is_received(&self, segment: Segment) -> bool {
        let open = self.open.get(&segment.start);
        open.is_none_or(|open| open.received == open.end)
    }

    /// A connection is gone: others may take the bytes that it did not receive.
    pub(super) fn give_up(&mut self, segment: Segment) {
        let Some(open) = self.open.get_mut(&segment.start) else {
            return;
        };
        open.closed = true;
        if open.received < open.end {
            self.left.insert(open.received, open.end);
            open.end = open.received;
        }
        self.tidy(segment.start);
    }

    /// The blob, whose size was unknown, ends where its one connection is.
    pub(super) fn end(&mut self, segment: Segment) {
        if let Some(open) = self.open.get_mut(&segment.start) {
            self.size = open.received;
            self.next = self.size;
            open.end = self.size;
            open.closed = true;
        }
        self.tidy(segment.start);
    }

    /// `len` more bytes of a segment are in the spool. Returns how many bytes from the beginning of the blob are there
    /// without a gap.
    pub(super) fn write(&mut self, segment: Segment, len: u64) -> u64 {
        if let Some(open) = self.open.get_mut(&segment.start) {
            open.written += len;
        }
        self.tidy(segment.start);
        self.written()
    }

    fn tidy(&mut self, start: u64) {
        let done = |open: &Open| open.closed && open.written == open.end;
        if self.open.get(&start).is_some_and(done) {
            self.open.remove(&start);
        }
    }

    fn written(&self) -> u64 {
        let open = self.open.values().map(|open| open.written).min();
        let left = self.left.keys().next().copied();
        let gaps = open.into_iter().chain(left);
        gaps.min().unwrap_or(self.next).min(self.next)
    }

    /// Everything was received.
    pub(super) fn is_complete(&self) -> bool {
        self.next == self.size && self.left.is_empty() && self.open.values().all(|open| open.closed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn segments_are_taken_in_order_and_the_mark_moves_with_the_first() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(30 * MIB, SEGMENT, now);
        assert_eq!((first.end, plan.waiting()), (8 * MIB, 3));
        let second = plan.take(now).unwrap();
        assert_eq!((second.start, second.end), (8 * MIB, 16 * MIB));
        assert_eq!(plan.receive(second, 8 * MIB), 8 * MIB);
        assert_eq!(plan.write(second, 8 * MIB), 0);
        plan.receive(first, MIB);
        assert_eq!(plan.write(first, MIB), MIB);
        plan.receive(first, 7 * MIB);
        assert_eq!(plan.write(first, 7 * MIB), 16 * MIB);
        assert!(!plan.is_complete());
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
        let second = plan.take(now).unwrap();
        plan.receive(first, MIB);
        plan.give_up(first);
        let again = plan.take(now).unwrap();
        assert_eq!((again.start, again.end), (MIB, 8 * MIB));
        assert_eq!(plan.write(first, MIB), MIB);
        assert_eq!(plan.receive(second, 100 * MIB), 8 * MIB);
    }

    #[test]
    fn a_slow_one_shares_what_it_has_before_it() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(8 * MIB, SEGMENT, now);
        assert_eq!(plan.take(now), None);
        let half = plan.take(now + SLOW).unwrap();
        assert_eq!((half.start, half.end), (4 * MIB, 8 * MIB));
        assert_eq!(plan.receive(first, 8 * MIB), 4 * MIB);
        assert!(plan.is_received(first));
        plan.receive(half, 3 * MIB);
        assert_eq!(plan.take(now + SLOW), None);
    }

    #[test]
    fn one_that_is_far_behind_is_helped_before_anything_new_begins() {
        let now = Instant::now();
        let (mut plan, first) = Plan::new(1 << 30, SEGMENT, now);
        let others: Vec<_> = (0..4).map(|_| plan.take(now).unwrap()).collect();
        for other in others {
            assert_eq!(plan.receive(other, 1 << 30), 16 * MIB);
        }
        let later = plan.take(now + SLOW).unwrap();
        assert_eq!((later.start, later.end), (4 * MIB, 8 * MIB));
        assert_eq!(plan.receive(first, 8 * MIB), 4 * MIB);
        assert_eq!(plan.take(now + SLOW).unwrap().start, (8 + 4 * 16) * MIB);
    }

    proptest! {
        /// Connections that do whatever they like: every byte is received once, and the mark never passes one that was
        /// not written.
        #[test]
        fn every_byte_comes_once(
            size in 1..200_u64,
            begun in 1..20_u64,
            moves in prop::collection::vec((0..4_usize, 0..5_u8, 1..12_u64), 0..300),
        ) {
            let size = size * MIB;
            let mut now = Instant::now();
            let (mut plan, first) = Plan::new(size, begun * MIB, now);
            let mut taken = [Some((first, 0)), None, None, None];
            let mut pieces = BTreeMap::new();
            let mut step = |plan: &mut Plan, now, who: usize, what: u8, len: u64| {
                let Some((segment, position)) = taken[who] else {
                    taken[who] = plan.take(now).map(|segment| (segment, segment.start));
                    return Ok(());
                };
                if what == 0 {
                    plan.give_up(segment);
                    taken[who] = None;
                    return Ok(());
                }
                let own = plan.receive(segment, len * MIB);
                if own > 0 {
                    prop_assert_eq!(pieces.insert(position, position + own), None);
                }
                let there = pieces.iter().fold(0, |there, (start, end)| if *start == there { *end } else { there });
                prop_assert_eq!(plan.write(segment, own), there);
                taken[who] = (!plan.is_received(segment)).then_some((segment, position + own));
                Ok(())
            };
            for (who, what, len) in moves {
                now += Duration::from_millis(200);
                step(&mut plan, now, who, what, len)?;
            }
            // In the end, one connection fetches the rest.
            for round in 0..10_000 {
                if plan.is_complete() {
                    break;
                }
                now += Duration::from_millis(200);
                step(&mut plan, now, round % 4, 1, 7)?;
            }
            prop_assert!(plan.is_complete());
            prop_assert_eq!(plan.written(), size);
        }
    }
}
