//! Which connection fetches which segment of a blob. No I/O.
//!
//! A blob is cut into segments. A connection that is free takes, in this order: what a client waits for and no
//! connection will bring soon; all that a connection has before it which is far slower than others were; half of what a
//! slow connection has before it, when all others are far ahead of that one; the first bytes that no connection has;
//! and in the end half of what any slow connection has before it. One slow connection must hold up neither the middle
//! nor the end.
//!
//! Where a blob is larger than its memory, it is cut into chunks, too, and a segment lies within one of them. The bytes
//! of chunks that have begun come before those of any other, because only a whole chunk can leave the memory; and
//! another one begins only if there is memory for it.

mod open;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::intervals::Intervals;
use crate::oci::Slice;
use open::{Open, rate};

pub(super) use open::SLOW;

/// The first segment, which is asked for before the size is known; and the least of the others, but near the end.
pub(super) const SEGMENT: u64 = 8 << 20;
/// Segments begin and end at multiples of it, as far as connections do not break: clients cannot cut a blob into
/// smaller pieces, however small their ranges are.
const GRAIN: u64 = 1 << 20;
/// The largest: bytes that come before the segment of the slowest connection wait to be hashed.
const LARGEST: u64 = 64 << 20;
/// So many segments behind the others, a slow connection delays all clients.
const BEHIND: u64 = 4;
/// Into how many segments a blob is cut, between the two bounds.
const SEGMENTS: u64 = 64;
/// The least near the end, where segments become shorter so that all connections end at about the same time.
const NEAR_END: u64 = 4 << 20;
/// The least that is worth a request of its own when a segment is shared.
const WORTH: u64 = 2 << 20;
/// For so long the rate of a segment that was completed says what others should have.
const RECENT: Duration = Duration::from_secs(10);

/// Decides whether a chunk may begin: there is memory for it, which is then reserved.
pub(super) type MayBegin<'a> = dyn FnMut(NewChunk) -> bool + 'a;

/// A chunk that could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewChunk {
    /// Its number; the first is 0.
    pub(super) number: u64,
    /// The number of the first chunk that is not complete. All clients of the whole wait for that one in the end.
    pub(super) lowest: u64,
}

/// The state of all segments.
#[derive(Debug)]
pub(super) struct Plan {
    /// The size of a chunk; `u64::MAX` for a blob that is not cut into chunks.
    chunk: u64,
    /// The chunks of which something was taken, and not everything was received.
    begun: BTreeSet<u64>,
    segment: u64,
    /// The largest segment.
    largest: u64,
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
    /// For a blob of `size` bytes (`u64::MAX`: unknown) in chunks of `chunk` bytes (`u64::MAX`: in none), whose first
    /// `begun` bytes, or all of it, come from one connection.
    pub(super) fn new(size: u64, begun: u64, chunk: u64, now: Instant) -> (Self, Segment) {
        let end = begun.min(size);
        let largest = LARGEST.min(chunk);
        // Two segments a chunk, so that the chunk is whole soon, and few bytes wait in chunks that are not.
        let segment = (size / SEGMENTS).clamp(SEGMENT, LARGEST) / GRAIN * GRAIN;
        let mut plan = Self {
            chunk,
            begun: BTreeSet::new(),
            segment: segment.min((chunk / 2).max(1)),
            largest,
            alone: SEGMENT.min(largest),
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

    /// Takes the bytes from `start` to `end` out, which are there already.
    pub(super) fn skip(&mut self, start: u64, end: u64) {
        self.untaken.remove(start, end);
    }

    /// Takes the segment to fetch next; `None` when all of the blob is being fetched, or no other chunk may begin.
    /// `wanted` are the positions at which clients wait.
    pub(super) fn take(&mut self, wanted: &[u64], now: Instant, may_begin: &mut MayBegin<'_>) -> Option<Segment> {
        let behind = self.furthest.saturating_sub(BEHIND * self.segment);
        self.take_wanted(wanted, now, may_begin)
            .or_else(|| self.take_over(now, |_| true))
            .or_else(|| self.share(now, |open| open.end <= behind))
            .or_else(|| self.take_first(now, may_begin))
            .or_else(|| self.share(now, |_| true))
    }

    fn may_begin(&self, number: u64, may_begin: &mut MayBegin<'_>) -> bool {
        self.begun.contains(&number) || may_begin(NewChunk { number, lowest: self.lowest() })
    }

    /// The first chunk that is not complete.
    fn lowest(&self) -> u64 {
        let open = self.open.first_key_value().map(|(_, open)| open.received);
        let untaken = self.untaken.first().map(|(start, _)| start);
        open.into_iter().chain(untaken).min().unwrap_or(0) / self.chunk
    }

    /// The bounds of the chunk around a position.
    fn chunk_of(&self, position: u64) -> (u64, u64) {
        let start = position / self.chunk * self.chunk;
        (start, start.saturating_add(self.chunk))
    }

    /// All that the first connection has before it which crawls and that `may` be given up. Its own bytes come too
    /// late.
    fn take_over(&mut self, now: Instant, may: impl Fn(&Open) -> bool) -> Option<Segment> {
        let usual = self.usual_rate(now);
        let slow = |open: &&Open| open.crawls(usual, now) && may(open);
        let (start, received, end) = self.open.values().find(slow).map(|open| (open.start, open.received, open.end))?;
        self.open.remove(&start);
        Some(self.begin(received, end, now))
    }

    /// The rate that a connection had a moment ago, in bytes a second. Where all of them became slow, it is 0.
    fn usual_rate(&self, now: Instant) -> f64 {
        self.rate.filter(|(_, at)| now.saturating_duration_since(*at) < RECENT).map_or(0.0, |(rate, _)| rate)
    }

    /// How long the next segment should be.
    fn next_len(&mut self) -> u64 {
        if self.open.is_empty() {
            self.alone = self.largest.min(self.alone * 2);
            return self.segment.max(self.alone);
        }
        let share = self.untaken.len() / (2 * (self.open.len() as u64 + 1));
        (share / GRAIN * GRAIN).clamp(NEAR_END.min(self.segment), self.segment)
    }

    /// Takes the first bytes that no connection has: of chunks that have begun, or else of the first that has not.
    fn take_first(&mut self, now: Instant, may_begin: &mut MayBegin<'_>) -> Option<Segment> {
        let in_begun = self.begun.iter().find_map(|number| {
            let start = number * self.chunk;
            self.untaken.first_within(start, start.saturating_add(self.chunk))
        });
        let (start, gap_end) = in_begun.or_else(|| self.untaken.first())?;
        if !self.may_begin(start / self.chunk, may_begin) {
            return None;
        }
        let end = if self.is_whole {
            // One connection goes on through all chunks.
            self.untaken.end_from(start)
        } else {
            gap_end.min(start.saturating_add(self.next_len())).min(self.chunk_of(start).1)
        };
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
            self.begun.insert(start / self.chunk);
            self.open.insert(start, Open::new(id, start, end, since));
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
            self.end_chunk(segment.start / self.chunk);
        }
        own
    }

    /// Forgets a chunk of which all was received.
    fn end_chunk(&mut self, number: u64) {
        let (start, end) = self.chunk_of(number.saturating_mul(self.chunk));
        let is_open = self.open.range(start..end).next().is_some();
        if !is_open && self.untaken.first_within(start, end).is_none() {
            self.begun.remove(&number);
        }
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

    /// No connection fetches anything.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Everything was received.
    pub(super) fn is_complete(&self) -> bool {
        self.untaken.is_empty() && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests;
