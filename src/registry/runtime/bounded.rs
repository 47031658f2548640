//! Many small requests, a bounded number of them at once.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

/// Runs all of the work, at most `limit` futures at once; returns the results in its order, or the first failure. The
/// caller makes the futures beforehand, so that their making is not part of the future that waits: for some hundred at
/// most, because each takes kilobytes. For more, see [`buffered`].
pub(in crate::registry) async fn try_join_bounded<T, E>(
    limit: usize,
    work: Vec<impl Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    stream::iter(work.into_iter().map(Ok)).try_buffered(limit).try_collect().await
}

/// Makes and runs a future for every item, at most `limit` at once; the results come in the order of the items.
pub(in crate::registry) fn buffered<'a, I, F>(
    limit: usize,
    items: I,
    make: impl FnMut(I::Item) -> F + Send + 'a,
) -> BoxStream<'a, F::Output>
where
    I: IntoIterator<IntoIter: Send + 'a>,
    F: Future<Output: Send> + Send + 'a,
{
    stream::iter(items).map(make).buffered(limit).boxed()
}

/// The first `most` results that are `Some`, or the first failure before them.
pub(in crate::registry) async fn first<T, E>(
    most: usize,
    results: BoxStream<'_, Result<Option<T>, E>>,
) -> Result<Vec<T>, E> {
    results.try_filter_map(|result| std::future::ready(Ok(result))).take(most).try_collect().await
}
