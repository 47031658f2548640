//! What clients wait for: it comes before anything else.

use std::time::Instant;

use super::open::Open;
use super::{GRAIN, MayBegin, Plan, SEGMENT, Segment};

impl Plan {
    /// Takes the first segment that a client waits for and that no connection will bring soon: of a chunk that has
    /// begun if there is one.
    pub(in crate::registry::fill) fn take_wanted(
        &mut self,
        wanted: &[u64],
        now: Instant,
        may_begin: &mut MayBegin<'_>,
    ) -> Option<Segment> {
        let mut new = None;
        for wanted in wanted.iter().copied().filter(|position| self.comes_late(*position, now)).collect::<Vec<_>>() {
            let number = wanted / self.chunk;
            let segment = match self.untaken.around(wanted) {
                Some(gap) if self.begun.contains(&number) => Some(self.take_around(wanted, gap, now)),
                Some(gap) => {
                    new = new.or(Some((wanted, gap)));
                    None
                }
                None => self.take_from_open(wanted, now),
            };
            if segment.is_some() {
                return segment;
            }
        }
        let (wanted, gap) = new?;
        self.may_begin(wanted / self.chunk, may_begin).then(|| self.take_around(wanted, gap, now))
    }

    /// Takes the segment at `wanted` out of the gap around it.
    fn take_around(&mut self, wanted: u64, (from, to): (u64, u64), now: Instant) -> Segment {
        let (chunk_start, chunk_end) = self.chunk_of(wanted);
        let start = from.max(wanted / GRAIN * GRAIN).max(chunk_start);
        let end = to.min(start + SEGMENT).min(chunk_end);
        self.untaken.remove(start, end);
        self.begin(start, end, now)
    }

    /// Takes what a client waits for from the connection that would bring it late.
    fn take_from_open(&mut self, wanted: u64, now: Instant) -> Option<Segment> {
        let start = wanted / GRAIN * GRAIN;
        self.take_over(now, |open| open.received <= wanted && wanted < open.end).or_else(|| {
            let (_, open) = self.open.range_mut(..start).next_back().filter(|(_, open)| wanted < open.end)?;
            let end = std::mem::replace(&mut open.end, start);
            Some(self.begin(start, end, now))
        })
    }

    /// Whether one of the positions is neither here nor will it be soon.
    pub(in crate::registry::fill) fn any_comes_late(&self, wanted: &[u64], now: Instant) -> bool {
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
}
