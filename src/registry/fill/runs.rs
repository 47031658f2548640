//! Chunks in the bucket as a lease names them, and as it commits to them. No I/O.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunks::Layout;
use crate::registry::parts_digest::PartsDigest;
use crate::store::Part;

/// The chunks `from..to`, all of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u8)", into = "(u64, u64, u8)")]
pub(super) struct Run {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Its place in the list of generations of the lease, from 0.
    pub(super) generation: u8,
}

impl From<(u64, u64, u8)> for Run {
    fn from((from, to, generation): (u64, u64, u8)) -> Self {
        Self { from, to, generation }
    }
}

impl From<Run> for (u64, u64, u8) {
    fn from(run: Run) -> Self {
        (run.from, run.to, run.generation)
    }
}

/// The runs of chunks that are given in the order of their numbers. Those of generations that are not in the list are
/// left out.
pub(super) fn runs(chunks: impl Iterator<Item = (u64, Uuid)>, generations: &[Uuid]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, generation) in chunks {
        let ordinal = generations.iter().position(|listed| *listed == generation);
        let Some(generation) = ordinal.and_then(|ordinal| u8::try_from(ordinal).ok()) else {
            continue;
        };
        match runs.last_mut() {
            Some(last) if last.to == number && last.generation == generation => last.to += 1,
            _ => runs.push(Run { from: number, to: number + 1, generation }),
        }
    }
    runs
}

/// The chunks of runs, each with its generation. Runs of generations that are not in the list are left out.
pub(super) fn chunks<'a>(runs: &'a [Run], generations: &'a [Uuid]) -> impl Iterator<Item = (u64, Uuid)> {
    let known = runs.iter().filter_map(|run| Some((run, *generations.get(usize::from(run.generation))?)));
    known.flat_map(|(run, generation)| (run.from..run.to).map(move |number| (number, generation)))
}

/// How many chunks there are from the first on, without a gap.
pub(super) fn prefix(runs: &[Run]) -> u64 {
    runs.iter().fold(0, |end, run| if run.from == end { run.to } else { end })
}

/// Commits to chunks by their numbers, lengths and `ETag`s: to the first ones of a blob, in order.
pub(super) fn chain<'a>(etags: impl Iterator<Item = &'a str>, layout: Layout) -> PartsDigest {
    let mut chain = PartsDigest::default();
    for (number, etag) in (0..).zip(etags) {
        let slice = layout.slice(number);
        // Parts are numbered from 1. Buckets write an ETag with quotes or without.
        let part = i32::try_from(number + 1).unwrap_or(i32::MAX);
        chain.append(&Part { number: part, len: slice.end - slice.start, etag: etag.trim_matches('"').to_owned() });
    }
    chain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_the_chunks(numbers in prop::collection::btree_map(0..60_u64, 0..4_u128, 0..60)) {
            let generations: Vec<_> = (0..3).map(Uuid::from_u128).collect();
            let all: Vec<_> = numbers.iter().map(|(number, own)| (*number, Uuid::from_u128(*own))).collect();
            let runs = runs(all.iter().copied(), &generations);
            prop_assert!(runs.iter().all(|run| run.from < run.to));
            let are_apart = |a: Run, b: Run| a.to < b.from || (a.to == b.from && a.generation != b.generation);
            prop_assert!(runs.windows(2).all(|pair| are_apart(pair[0], pair[1])));
            let known = all.iter().copied().filter(|(_, own)| generations.contains(own));
            prop_assert!(chunks(&runs, &generations).eq(known));
            let known: Vec<_> = chunks(&runs, &generations).map(|(number, _)| number).collect();
            let expected = (0..60).find(|number| !known.contains(number)).unwrap_or(60);
            prop_assert_eq!(prefix(&runs), expected);
        }
    }

    #[test]
    fn a_chain_tells_chunks_apart() {
        let layout = Layout { size: Some(25), chunk: 10 };
        let three = chain(["a", "\"b\"", "c"].into_iter(), layout);
        assert_eq!(three, chain(["\"a\"", "b", "c"].into_iter(), layout));
        assert_eq!(chain([].into_iter(), layout), PartsDigest::default());
        for other in [&["a", "b"][..], &["b", "a", "c"], &["a", "b", "d"], &["a", "b", "c", "d"]] {
            assert_ne!(chain(other.iter().copied(), layout), three);
        }
        assert_ne!(chain(["a", "b", "c"].into_iter(), Layout { size: Some(26), chunk: 10 }), three);
    }
}
