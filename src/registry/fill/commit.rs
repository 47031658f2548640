//! A blob that is being filled becomes an object: a few parts at a time, as its bytes come; or, over a folder, the file
//! itself.

use std::error::Error;
use std::sync::Arc;

use super::Fills;
use super::filled_blob::{FilledBlob, Place};
use crate::store::{FilledFor, Key, MAX_PART_BYTES, PartSender, PartSizes, StoreError};

/// How many parts of one blob are in flight. Their bytes are copied as they are sent, so each takes a fraction of a MiB
/// of memory.
const PARALLEL: usize = 4;

pub(super) const STOPPED: &str = "the registry is shutting down";
pub(super) const GONE: &str = "the upload is gone from the bucket";

/// Stores a blob that is not cut into chunks, as it comes. After it was verified, `link` runs, and the blob appears in
/// the bucket. Otherwise nothing appears, and the parts are aborted.
///
/// # Errors
/// Why it is not stored.
pub(super) async fn run(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
    filled: &Arc<FilledBlob>,
    link: impl Future<Output = ()>,
) -> Result<(), String> {
    match (fills.store.embedded(), filled.place()) {
        (Some(folder), Place::File(file)) => {
            let adopted = async {
                filled.verified().await.map_err(|error| error.to_string())?;
                link.await;
                folder.adopt(key, file.file(), filled_for).await.map_err(|error| error.to_string())
            };
            unless_stopped(fills, adopted).await
        }
        _ => in_parts(fills, (key, filled_for), filled, link).await,
    }
}

async fn unless_stopped<T>(fills: &Fills, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::select! {
        result = work => result,
        () = fills.background.stopped() => Err(STOPPED.to_owned()),
    }
}

/// Stores a blob that is in memory as a whole and was verified.
///
/// # Errors
/// Why it is not stored.
pub(super) async fn put(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
    filled: &Arc<FilledBlob>,
    size: u64,
    link: impl Future<Output = ()>,
) -> Result<(), String> {
    let put = async {
        link.await;
        let put = fills.store.put_filled(key, size, filled.part(0, size), filled_for);
        put.await.map_err(|error| error.to_string())
    };
    unless_stopped(fills, put).await
}

/// Uploads the blob in parts as it comes, or by one request if it is small.
async fn in_parts(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
    filled: &Arc<FilledBlob>,
    link: impl Future<Output = ()>,
) -> Result<(), String> {
    let store = &fills.store;
    let sizes = match filled.size() {
        Some(size) => PartSizes::equal(store.part_size(), size, MAX_PART_BYTES),
        None => PartSizes::doubling(store.part_size(), 0, MAX_PART_BYTES),
    };
    let (there, ends) = filled.available(0, sizes.first()).await.map_err(|error| error.to_string())?;
    if ends {
        return put(fills, (key, filled_for), filled, there, link).await;
    }
    let begun = begin(fills, (key, filled_for)).await.map_err(|error| error.to_string())?;
    let mut sender = begun.ok_or(STOPPED)?;
    let sent = async { send_all(&mut sender, sizes, filled, link).await.map_err(|error| error.to_string()) };
    let uploaded = unless_stopped(fills, sent).await;
    end(sender, uploaded.is_ok()).await;
    uploaded
}

/// Begins the upload of a blob, which is aborted if the sender is dropped; `None`: the registry shuts down.
///
/// # Errors
/// The bucket did not begin it.
pub(super) async fn begin(
    fills: &Fills,
    (key, filled_for): (Key<'_>, FilledFor),
) -> Result<Option<PartSender>, StoreError> {
    let upload = tokio::select! {
        upload = fills.store.begin_filled(key, filled_for) => upload?,
        () = fills.background.stopped() => return Ok(None),
    };
    let background = Arc::clone(&fills.background);
    // Another process may take the fill over while this one uploads.
    Ok(Some(PartSender::new(upload, PARALLEL).owned(move |abort| background.spawn(abort))))
}

/// Ends an upload that [`begin`] began: aborts it, unless it is complete.
pub(super) async fn end(mut sender: PartSender, is_complete: bool) {
    if is_complete {
        sender.disown();
    } else {
        sender.abort().await;
    }
}

async fn send_all(
    sender: &mut PartSender,
    sizes: PartSizes,
    filled: &Arc<FilledBlob>,
    link: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut start = 0;
    loop {
        let wanted = sizes.of(sender.next_number());
        let wanted = filled.size().map_or(wanted, |size| wanted.min(size.saturating_sub(start)));
        let (len, ends) = sender.unless_failed(filled.available(start, wanted)).await?.ok_or(GONE)??;
        if len > 0 && !sender.send(len, filled.part(start, start + len), ()).await? {
            return Err(GONE.into());
        }
        start += len;
        if len == 0 || ends || filled.size() == Some(start) {
            break;
        }
    }
    let parts = sender.finish().await?.ok_or(GONE)?;
    filled.verified().await?;
    link.await;
    sender.upload().complete(parts).await?;
    Ok(())
}
