//! Many small questions to the bucket, a few at a time.

use futures_util::{TryStreamExt, stream};

/// Does all of the work, at most `limit` at once, and returns the results in its order, or the first
/// failure. The work is made beforehand, so that what makes it is not part of the waiting future.
pub(super) async fn a_few<T, E>(
    limit: usize,
    work: Vec<impl Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    stream::iter(work.into_iter().map(Ok))
        .try_buffered(limit)
        .try_collect()
        .await
}
