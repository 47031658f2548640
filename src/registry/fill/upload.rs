//! From the spool into the bucket, a few parts at a time.

use std::io;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::{self, Stream};

use super::spooled_blob::SpooledBlob;
use crate::registry::runtime::Background;
use crate::store::{FilledFor, Key, Multipart, Part, PartSource, Store, StoreError, part_size};

/// How many parts of one blob are on their way at once. Their bytes come from the spool as they are sent, so a part in
/// flight takes a fraction of a MiB of memory.
const PARALLEL: usize = 4;
/// After so many parts of a blob of unknown size, and then after every [`DOUBLE_EVERY`], parts double: 10,000 are
/// enough for any. A store that wants equal parts refuses such a blob: it is 48 GiB with the default of
/// `storage.s3.chunksize`, and each fill of it begins anew.
const DOUBLE_AFTER: u32 = 5_000;
const DOUBLE_EVERY: u32 = 500;

/// S3's limit for a part, in bytes.
const LARGEST: u64 = 5 << 30;

/// A stretch of the spool that becomes a part.
struct Stretch {
    number: i32,
    start: u64,
    len: u64,
}

/// Uploads the blob as it comes, and makes it appear in the bucket after it was verified, and `announced` then.
/// Whatever else happens, nothing appears, and the parts that were sent are thrown away.
pub(super) async fn run(
    store: &Store,
    (key, filled_for): (Key<'_>, FilledFor),
    spooled: &Arc<SpooledBlob>,
    announced: impl Future<Output = ()>,
    background: &Background,
) -> Result<(), String> {
    let whole = part_size(store.part_size(), spooled.size().unwrap_or(0));
    let (there, ends) = spooled.available(0, whole).await.map_err(|error| error.to_string())?;
    if ends {
        announced.await;
        return store
            .put_filled(key, there, source(spooled, 0, there), filled_for)
            .await
            .map_err(|error| error.to_string());
    }
    let upload = tokio::select! {
        upload = store.begin_filled(key, filled_for) => upload.map_err(|error| error.to_string())?,
        () = background.stopped() => return Err("the registry is shutting down".to_owned()),
    };
    let uploaded = tokio::select! {
        uploaded = parts(&upload, spooled, whole, announced) => uploaded,
        () = background.stopped() => Err("the registry is shutting down".to_owned()),
    };
    if uploaded.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%error, "an upload was left over in the bucket");
    }
    uploaded
}

async fn parts(
    upload: &Multipart,
    spooled: &Arc<SpooledBlob>,
    whole: u64,
    announced: impl Future<Output = ()>,
) -> Result<(), String> {
    let sent: Vec<Part> = stretches(spooled, whole)
        .map_err(|error| error.to_string())
        .map_ok(|stretch| async move {
            let end = stretch.start + stretch.len;
            let sent = upload.part(stretch.number, stretch.len, source(spooled, stretch.start, end)).await;
            sent.map_err(|error: StoreError| error.to_string())?
                .ok_or_else(|| "the upload is gone from the bucket".to_owned())
        })
        .try_buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    spooled.verified().await.map_err(|error| error.to_string())?;
    announced.await;
    upload.complete(sent).await.map_err(|error| error.to_string())
}

/// The stretches of a blob, each as soon as it is in the spool.
fn stretches(spooled: &Arc<SpooledBlob>, whole: u64) -> impl Stream<Item = io::Result<Stretch>> {
    let first = Stretch { number: 1, start: 0, len: 0 };
    stream::try_unfold(Some(first), move |next| async move {
        let Some(Stretch { number, start, .. }) = next else {
            return Ok(None);
        };
        let wanted = match spooled.size() {
            Some(size) => whole.min(size.saturating_sub(start)),
            None => LARGEST.min(whole << doublings(number.unsigned_abs())),
        };
        let (len, mut ends) = spooled.available(start, wanted).await?;
        ends |= spooled.size() == Some(start + len);
        if len == 0 {
            return Ok(None);
        }
        let following = (!ends).then_some(Stretch { number: number + 1, start: start + len, len: 0 });
        Ok(Some((Stretch { number, start, len }, following)))
    })
}

/// How often parts have doubled by part `number`.
fn doublings(number: u32) -> u32 {
    match number.checked_sub(DOUBLE_AFTER + 1) {
        Some(behind) => 1 + behind / DOUBLE_EVERY,
        None => 0,
    }
}

fn source(spooled: &Arc<SpooledBlob>, start: u64, end: u64) -> PartSource {
    let spooled = Arc::clone(spooled);
    Arc::new(move || spooled.read_written(start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_blob_of_unknown_size_double_late_and_are_enough() {
        assert_eq!((doublings(1), doublings(5_000)), (0, 0));
        assert_eq!((doublings(5_001), doublings(5_500), doublings(5_501)), (1, 1, 2));
        let sizes = (1..=10_000).map(|number| (10_u64 << 20) << doublings(number));
        // The largest object that S3 takes.
        assert!(sizes.map(|size| size.min(LARGEST)).sum::<u64>() >= 5 << 40);
    }
}
