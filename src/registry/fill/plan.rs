//! Which connection fetches which segment of a blob. No I/O.
//!
//! A blob is cut into segments. A connection that is free takes, in this order: what a client waits for and no
//! connection will bring soon; all that a connection has before it which is far slower than others were; half of what a
//! slow connection has before it, when all others are far ahead of that one; the first bytes that no connection has; and
//! in the end half of what any slow connection has before it. One slow connection must hold up neither the middle nor the
//! end.

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
/// A connection that is so many times slower than the others were is given up, once its segment is as old as [`SLOW`].
const TIMES_SLOWER: f64 = 4.0;
/// For so long the rate of a segment that was completed says what others should have.
const RECENT: Duration = Duration::from_secs(10);

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
    /// How many segments there were.
    segments: u64,
    /// The mean rate of the last segments that were completed, in bytes a second, and when the last one was.
    rate: Option<(f64, Instant)>,
    /// The upstream does not send ranges any more: a connection takes all that is left.
    is_whole: bool,
}

#[derive(Debug)]
struct Open {
    id: u64,
    start: u64,
    /// So far its connection has received.
    received: u64,
    end: u64,
    since: Instant,
    /// A moment up to [`SLOW`] ago when bytes came, and how far it was: its present rate is that since then.
    mark: (Instant, u64),
}

impl Open {
    const fn ahead(&self) -> u64 {
        self.end - self.received
    }

    /// `len` bytes came.
    fn receive(&mut self, len: u64, now: Instant) {
        if now.saturating_duration_since(self.mark.0) >= SLOW {
            self.mark = (now, self.received);
        }
        self.received += len;
    }

    /// Whether it is far slower than others were.
    fn crawls(&self, usual: f64, now: Instant) -> bool {
        let (at, position) = self.mark;
        let is_old = now.saturating_duration_since(self.since) >= SLOW;
        let is_measured = now.saturating_duration_since(at) >= SLOW / 2;
        is_old && is_measured && rate(self.received - position, now, at) * TIMES_SLOWER < usual
    }
}

/// In bytes a second.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(bytes: u64, now: Instant, since: Instant) -> f64 {
    bytes as f64 / now.saturating_duration_since(since).as_secs_f64().max(0.001)
}

/// A segment that a connection took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    id: u64,
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
            segments: 0,
            rate: None,
            is_whole: false,
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
            .or_else(|| self.take_over(now, |_| true))
            .or_else(|| self.share(now, |open| open.end <= behind))
            .or_else(|| self.take_first(now))
            .or_else(|| self.share(now, |_| true))
    }

    /// Takes the first segment that a client waits for and that no connection will bring soon.
    pub(super) fn take_wanted(&mut self, wanted: &[u64], now: Instant) -> Option<Segment> {
        let wanted = wanted.iter().copied().find(|position| self.comes_late(*position, now))?;
        let start = wanted / GRAIN * GRAIN;
        if let Some((from, end)) = self.untaken.around(wanted) {
            let start = from.max(start);
            let end = end.min(start + SEGMENT);
            self.untaken.remove(start, end);
            return Some(self.begin(start, end, now));
        }
        self.take_over(now, |open| open.received <= wanted && wanted < open.end).or_else(|| {
            let (_, open) = self.open.range_mut(..start).next_back()?;
            let end = std::mem::replace(&mut open.end, start);
            Some(self.begin(start, end, now))
        })
    }

    /// All that the first connection has before it which crawls and that `may` be given up. Its own bytes come too late.
    fn take_over(&mut self, now: Instant, may: impl Fn(&Open) -> bool) -> Option<Segment> {
        let usual = self.usual_rate(now);
        let slow = |open: &&Open| open.crawls(usual, now) && may(open);
        let (start, received, end) = self.open.values().find(slow).map(|open| (open.start, open.received, open.end))?;
        self.open.remove(&start);
        Some(self.begin(received, end, now))
    }

    /// Whether one of the positions is neither here nor will it be soon.
    pub(super) fn any_comes_late(&self, wanted: &[u64], now: Instant) -> bool {
        wanted.iter().any(|position| self.comes_late(*position, now))
    }

    fn comes_late(&self, position: u64, now: Instant) -> bool {
        let mut before = self.open.range(..=position);
        let late = |open: &Open| {
            let is_its = open.received <= position && position < open.end;
            is_its && (position > open.received + SEGMENT || open.crawls(self.usual_rate(now), now))
        };
        self.untaken.around(position).is_some() || before.next_back().is_some_and(|(_, open)| late(open))
    }

    /// The rate that a connection had a moment ago, in bytes a second. Where all of them became slow, it is 0.
    fn usual_rate(&self, now: Instant) -> f64 {
        self.rate.filter(|(_, at)| now.saturating_duration_since(*at) < RECENT).map_or(0.0, |(rate, _)| rate)
    }

    fn take_first(&mut self, now: Instant) -> Option<Segment> {
        let (start, gap_end) = self.untaken.first()?;
        let len = if self.is_whole {
            u64::MAX
        } else if self.open.is_empty() {
            self.alone = LARGEST.min(self.alone * 2);
            self.segment.max(self.alone)
        } else {
            let share = self.untaken.len() / (2 * (self.open.len() as u64 + 1));
            (share / GRAIN * GRAIN).clamp(NEAR_END, self.segment)
        };
        let end = gap_end.min(start.saturating_add(len));
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
        self.segments += 1;
        let id = self.segments;
        if start < end {
            self.open.insert(start, Open { id, start, received: start, end, since, mark: (since, start) });
        }
        Segment { id, start, end }
    }

    /// The upstream sent a range once, and does not any more: what is left comes in one piece.
    pub(super) const fn expect_no_ranges(&mut self) {
        self.is_whole = true;
    }

    /// Whether more than one connection is of no use.
    pub(super) const fn expects_no_ranges(&self) -> bool {
        self.is_whole
    }

    /// A segment that its connection still has.
    fn open(&mut self, segment: Segment) -> Option<&mut Open> {
        self.open.get_mut(&segment.start).filter(|open| open.id == segment.id)
    }

    /// A connection received `len` more bytes of its segment: how many of them are still its own. Fewer than `len`
    /// means that the segment is complete.
    pub(super) fn receive(&mut self, segment: Segment, len: u64, now: Instant) -> u64 {
        let Some(open) = self.open(segment) else {
            return 0;
        };
        let own = len.min(open.ahead());
        open.receive(own, now);
        if open.received == open.end {
            let rate = rate(open.end - open.start, now, open.since);
            let mean = self.rate.map_or(rate, |(before, _)| f64::midpoint(before, rate));
            self.rate = Some((mean, now));
            self.open.remove(&segment.start);
        }
        own
    }

    /// Whether all of a segment was received.
    pub(super) fn is_received(&self, segment: Segment) -> bool {
        self.open.get(&segment.start).is_none_or(|open| open.id != segment.id)
    }

    /// A connection is gone: others may take the bytes that it did not receive.
    pub(super) fn give_up(&mut self, segment: Segment) {
        if let Some((received, end)) = self.open(segment).map(|open| (open.received, open.end)) {
            self.open.remove(&segment.start);
            self.untaken.insert(received, end);
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
mod tests;
