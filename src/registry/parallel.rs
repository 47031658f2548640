//! Many small questions to the bucket, a few at a time.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

/// Does all of the work, at most `limit` at once, and returns the results in its order, or the first failure. The work
/// is made beforehand, so that what makes it is not part of the waiting future: for some hundred pieces at most,
/// because each takes kilobytes. Of more, see [`lazily`].
pub(super) async fn a_few<T, E>(limit: usize, work: Vec<impl Future<Output = Result<T, E>>>) -> Result<Vec<T>, E> {
    stream::iter(work.into_iter().map(Ok)).try_buffered(limit).try_collect().await
}

/// Does work for every item, at most `limit` at once; the results come in the order of the items. Each piece of work is
/// made when its time comes.
pub(super) fn lazily<'a, I, F>(
    limit: usize,
    items: I,
    make: impl FnMut(I::Item) -> F + Send + 'a,
) -> BoxStream<'a, F::Output>
where
    I: IntoIterator<IntoIter: Send + 'a>,
    F: Future<Output: Send> + Send + 'a,
{
    let work = stream::iter(items).map(make);
    work.buffered(limit).boxed()
}

/// The first `most` results that there are, or the first failure before them.
pub(super) async fn first<T, E>(most: usize, results: BoxStream<'_, Result<Option<T>, E>>) -> Result<Vec<T>, E> {
    let found = results.try_filter_map(|result| std::future::ready(Ok(result)));
    found.take(most).try_collect().await
}
