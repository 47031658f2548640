//! From the spool into the bucket, a few parts at a time; or, over a folder, the spool file itself.

use std::error::Error;
use std::sync::Arc;

use super::spooled_blob::SpooledBlob;
use crate::registry::runtime::Background;
use crate::store::{FilledFor, Key, MAX_PART_BYTES, PartSender, PartSizes, PartSource, Store};

/// How many parts of one blob are in flight. Their bytes are read from the spool as they are sent, so each takes a
/// fraction of a MiB of memory.
const PARALLEL: usize = 4;

/// Uploads the blob as it comes; a folder gets the spool file itself, when it is whole. After the blob was verified,
/// `link` runs, and the blob appears in the bucket. Otherwise nothing appears, and the parts are aborted.
pub(super) async fn run(
    store: &Store,
    (key, filled_for): (Key<'_>, FilledFor),
    spooled: &Arc<SpooledBlob>,
    link: impl Future<Output = ()>,
    background: &Background,
) -> Result<(), String> {
    if let Some(folder) = store.embedded() {
        let adopted = async {
            spooled.verified().await.map_err(|error| error.to_string())?;
            link.await;
            let adopted = folder.adopt(key, spooled.spool().file(), filled_for).await;
            adopted.map_err(|error| error.to_string())
        };
        return tokio::select! {
            adopted = adopted => adopted,
            () = background.stopped() => Err("the registry is shutting down".to_owned()),
        };
    }
    let sizes = match spooled.size() {
        Some(size) => PartSizes::equal(store.part_size(), size, MAX_PART_BYTES),
        None => PartSizes::doubling(store.part_size(), 0, MAX_PART_BYTES),
    };
    let (there, ends) = spooled.available(0, sizes.first()).await.map_err(|error| error.to_string())?;
    if ends {
        link.await;
        let put = store.put_filled(key, there, source(spooled, 0, there), filled_for);
        return put.await.map_err(|error| error.to_string());
    }
    let upload = tokio::select! {
        upload = store.begin_filled(key, filled_for) => upload.map_err(|error| error.to_string())?,
        () = background.stopped() => return Err("the registry is shutting down".to_owned()),
    };
    let mut sender = PartSender::new(upload, PARALLEL);
    let uploaded = tokio::select! {
        uploaded = send_all(&mut sender, sizes, spooled, link) => uploaded.map_err(|error| error.to_string()),
        () = background.stopped() => Err("the registry is shutting down".to_owned()),
    };
    if uploaded.is_err() {
        sender.abort().await;
    }
    uploaded
}

async fn send_all(
    sender: &mut PartSender,
    sizes: PartSizes,
    spooled: &Arc<SpooledBlob>,
    link: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    const GONE: &str = "the upload is gone from the bucket";
    let mut start = 0;
    loop {
        let wanted = sizes.of(sender.next_number());
        let wanted = spooled.size().map_or(wanted, |size| wanted.min(size.saturating_sub(start)));
        let (len, ends) = sender.unless_failed(spooled.available(start, wanted)).await?.ok_or(GONE)??;
        if len > 0 && !sender.send(len, source(spooled, start, start + len), ()).await? {
            return Err(GONE.into());
        }
        start += len;
        if len == 0 || ends || spooled.size() == Some(start) {
            break;
        }
    }
    let parts = sender.finish().await?.ok_or(GONE)?;
    spooled.verified().await?;
    link.await;
    sender.upload().complete(parts).await?;
    Ok(())
}

fn source(spooled: &Arc<SpooledBlob>, start: u64, end: u64) -> PartSource {
    let spooled = Arc::clone(spooled);
    Arc::new(move || spooled.read_written(start, end))
}
