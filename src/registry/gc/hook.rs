//! A round without a survey, for tests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::facts::{Candidate, CandidateKind, Reason};
use super::lease::{Acquired, Collector, CollectorOptions};
use super::sweep::Swept;
use crate::config::GcTiming;
use crate::store::Store;

/// A round with these candidates: whether each is a link to a blob, or bytes, and its path.
///
/// # Errors
/// The lease is lost, or the bucket fails.
pub(crate) async fn gc_round(
    store: &Store,
    (timing, delay): (GcTiming, Duration),
    is_exclusive: bool,
    candidates: &[(bool, String)],
) -> Result<String, String> {
    let options = CollectorOptions { timing, delay, rate: 10_000, is_exclusive };
    let collector = match Collector::acquire(store, options).await.map_err(|error| error.to_string())? {
        Acquired::Held(collector) => collector,
        Acquired::Busy(age) => return Ok(format!("Busy: {age:?}")),
        Acquired::Refused(why) => return Ok(format!("Refused: {why}")),
    };
    let candidates = || {
        candidates.iter().map(|(is_content, path)| {
            let kind = if *is_content { CandidateKind::Blob } else { CandidateKind::Revision };
            Ok(Candidate { kind, path: path.clone(), size: 1, reason: Reason::Unneeded })
        })
    };
    let round = async {
        let (stop, mut swept) = (CancellationToken::new(), Swept::default());
        for batch in collector.due().await? {
            collector.sweep(batch, candidates(), &stop, &mut swept, |_| {}).await?;
        }
        let published = collector.publish(candidates()).await?;
        collector.retire().await?;
        let requests = collector.requests();
        collector.release().await?;
        Ok(format!("{swept:?} {published:?} {requests:?}"))
    };
    round.await.map_err(|error: super::lease::CollectorError| error.to_string())
}
