//! `storage.maxsize`: what was not used for longest goes, until the rest fits.
//!
//! Counted is what stays without a budget: not what nothing needs any more, which goes anyway. Two passes: bytes by the
//! hour of their last use tell the hour in which the budget ends, and the blobs of that hour alone tell the minute, and
//! of one minute the repositories. So memory is bounded, whatever the number of blobs.

use std::collections::BTreeMap;
use std::io;

use super::blobs::BlobTotals;
use super::candidates::Candidates;
use super::needed::Needed;

/// What is needed until before this is taken. Nothing that was used since `limit`. This blocks.
///
/// # Errors
/// A temporary file cannot be read.
pub(super) fn cutoff(max_size: u64, totals: &BlobTotals, limit: Needed, candidates: &Candidates) -> io::Result<Needed> {
    let left = max_size.saturating_sub(totals.fixed);
    let Some((hour, left)) = last_that_fits(totals.by_hour.iter().rev(), left) else {
        return Ok(Needed::FIRST);
    };
    let mut of_hour = BTreeMap::new();
    for blob in candidates.named_blobs() {
        let blob = blob?;
        if !blob.needed.is_expired() && blob.needed.hour() == hour {
            *of_hour.entry(blob.needed).or_default() += blob.size;
        }
    }
    let last = last_that_fits(of_hour.iter().rev(), left);
    Ok(last.map_or(Needed::FIRST, |(needed, _)| needed.next()).min(limit))
}

/// The first entry that does not fit, and what is left before it.
fn last_that_fits<'a, K: Copy + 'a>(
    entries: impl Iterator<Item = (&'a K, &'a u64)>,
    mut left: u64,
) -> Option<(K, u64)> {
    for (key, bytes) in entries {
        match left.checked_sub(*bytes) {
            Some(less) => left = less,
            None => return Some((*key, left)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::candidates::CandidateWriter;
    use super::super::decide::Candidacy;
    use super::super::needed::Share;
    use super::*;
    use crate::oci::RepositoryName;
    use crate::registry::gc::facts::CandidateKind;

    fn used(minute: u64, name: &str) -> Needed {
        let name: RepositoryName = name.parse().unwrap();
        Needed::until(UNIX_EPOCH + Duration::from_secs(60 * (1_000_000 + minute)), Share::of(&name))
    }

    /// Which of these blobs, of 10 bytes each, go.
    async fn taken(max_size: u64, fixed: u64, limit: Needed, blobs: &[Needed]) -> Vec<Needed> {
        let writer = CandidateWriter::new(None);
        let mut totals = BlobTotals { fixed, ..BlobTotals::default() };
        let blob = |needed| Candidacy { kind: CandidateKind::Blob, needed, size: 10, path: "x".to_owned() };
        let mut all: Vec<_> = blobs.iter().copied().map(blob).collect();
        all.push(blob(Needed::NOT));
        writer.add_later(&all).await.unwrap();
        for needed in blobs {
            *totals.by_hour.entry(needed.hour()).or_default() += 10;
        }
        let candidates = writer.finish().unwrap();
        let cutoff = cutoff(max_size, &totals, limit, &candidates).unwrap();
        blobs.iter().copied().filter(|needed| needed.reason(cutoff).is_some()).collect()
    }

    #[tokio::test]
    async fn the_oldest_go_until_the_rest_fits() {
        let (now, blobs) = (used(10_000, "a"), [0, 1, 59, 60, 200, 5000].map(|minute| used(minute, "a")));
        for most in 0..=6 {
            let most_bytes = 5 + 10 * most as u64;
            let taken = taken(most_bytes + 7, 7, now, &blobs).await;
            assert_eq!(taken, blobs[..blobs.len() - most.min(6)], "{most}");
        }
        assert_eq!(taken(0, 7, now, &blobs).await, blobs);
        assert_eq!(taken(10, 70, now, &blobs).await, blobs, "pushed content alone is too much");
        assert_eq!(taken(10, 0, used(60, "a"), &blobs).await, blobs[..3], "what is young stays");
    }

    #[tokio::test]
    async fn of_one_minute_the_repositories_go_one_after_the_other() {
        let mut blobs: Vec<_> = (0..50).map(|n| used(0, &format!("r{n}"))).collect();
        blobs.sort_unstable();
        let gone = taken(400, 0, used(9000, "a"), &blobs).await;
        assert!((10..15).contains(&gone.len()), "{} of 50", gone.len());
        assert_eq!(gone, blobs[..gone.len()]);
    }
}
