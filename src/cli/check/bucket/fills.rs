//! Fills of large blobs: chunks below a prefix of their own, and how these become the blob.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::config::Compose;
use crate::oci::{Algorithm, Digest};
use crate::store::{ComposeSource, Composed, Key, Multipart, Part, PartSource, StoreError, UpstreamId};

/// The size of the chunk that is tried first, in bytes: the smallest part that is not the last one.
const FIRST: u64 = 5 << 20;
/// A bucket that takes the first chunk within this time is measured with [`CHUNKS`]: they are written, copied, read and
/// sent once each, which is 144 MiB, and lasts some 15 s at that pace.
const QUICK: Duration = Duration::from_millis(500);
/// How many chunks are copied and sent, and their size in bytes: as pounce cuts most blobs.
const CHUNKS: (u64, u64) = (3, 16 << 20);
/// The same where that would take too long.
const FEW_CHUNKS: (u64, u64) = (2, FIRST);

/// Objects of a fill that no process runs.
struct Fill<'a> {
    probe: &'a Probe<'a>,
    digest: Digest,
    upstream: UpstreamId,
    first: Uuid,
    /// The generation of the chunks that are measured.
    second: Uuid,
}

pub(super) async fn check(probe: &Probe<'_>, report: &mut Report) {
    let [first, second] = [Uuid::new_v4(), Uuid::new_v4()];
    let digest = Digest::of(Algorithm::Sha256, first.as_bytes());
    let fill = Fill { probe, digest, upstream: UpstreamId::of_url("pounce check"), first, second };
    let name = "fills";
    let mut what = "replicas do not share the copies of large blobs".to_owned();
    if probe.config.proxy.spool.directory.is_none() {
        what.insert_str(0, "blobs that memory (proxy.fill.memory) has no room for cannot be pulled through, and ");
    }
    let consequence = format!("{what}; allow these keys pounce/fills/* beside docker/registry/v2/*");
    match fill.write_read_and_list().await {
        Ok(Some(took)) => {
            if probe.config.proxy.fill.compose == Compose::Copy {
                fill.compare(took < QUICK, report).await;
            }
            fill.delete(report, name).await;
        }
        Ok(None) => {
            let why = "below pounce/fills/ is something else than what was written";
            probe.differs(report, name, why, &consequence);
            fill.delete(report, name).await;
        }
        Err(error) => {
            probe.failed(report, name, &error, &consequence);
            if let Err(error) = probe.store.delete_directory(fill.directory()).await {
                tracing::warn!(%error, "check: its chunks below pounce/fills/ could not be deleted");
            }
        }
    }
}

impl Fill<'_> {
    const fn directory(&self) -> Key<'_> {
        Key::Fill(&self.digest, self.upstream)
    }

    /// Returns how long the write of a chunk took; `None` if something else came back.
    async fn write_read_and_list(&self) -> Result<Option<Duration>, StoreError> {
        let store = &self.probe.store;
        let (chunk, head) = (self.chunk(&self.first, 0), Key::FillHead(&self.digest, self.upstream, &self.first, 0));
        // A process tests the conditions of a bucket before its first chunk.
        let head_len = self.probe.bytes.len() as u64;
        store.put_chunk(head, head_len, self.source(head_len)).await?;
        let began = Instant::now();
        store.put_chunk(chunk, FIRST, self.source(FIRST)).await?;
        let took = began.elapsed();
        let expected = self.probe.bytes.iter().cycle();
        let is_same = self.read(chunk, None).await?.is_some_and(|pieces| {
            let len: usize = pieces.iter().map(Bytes::len).sum();
            len as u64 == FIRST && pieces.iter().flatten().zip(expected).all(|(found, expected)| found == expected)
        });
        let (listed, _) = store.objects(self.directory(), None, 10).await?;
        Ok((is_same && listed.len() == 2).then_some(took))
    }

    /// Lets the bucket copy chunks into an upload, and sends the same chunks.
    async fn compare(&self, is_quick: bool, report: &mut Report) {
        let name = "compose";
        let (count, len) = if is_quick { CHUNKS } else { FEW_CHUNKS };
        let consequence = "large blobs are pulled through and not stored; proxy.fill.compose: send avoids it";
        let compared = async {
            let written = (0..count).map(|number| {
                let key = self.chunk(&self.second, number * len);
                self.probe.store.put_chunk(key, len, self.source(len))
            });
            let etags: Vec<_> = try_join_all(written).await?.into_iter().flatten().collect();
            let copied = self.in_upload(async |upload| self.copy(upload, &etags, len).await).await?;
            let Ok(copied) = copied else {
                return Ok(copied.map(|copied| (copied, Duration::ZERO)));
            };
            let sent = self.in_upload(async |upload| self.send(upload, &etags, len).await).await?;
            Ok(Ok((copied, sent)))
        };
        match compared.await {
            Ok(Ok(times)) => match comparison((count, len), times) {
                (true, how) => report.passed(name, &how),
                (false, how) => report.warned(name, "proxy.fill.compose", &how, "set proxy.fill.compose: send"),
            },
            Ok(Err(Composed::Unsupported)) => {
                let why = "the bucket has no UploadPartCopy: pounce sends the chunks of large blobs once more";
                let next = "set proxy.fill.compose: send, which saves the attempt";
                report.warned(name, "proxy.fill.compose", why, next);
            }
            Ok(Err(_)) => self.probe.differs(report, name, "the bucket does not find what it has", consequence),
            Err(error) => self.probe.failed(report, name, &error, consequence),
        }
    }

    /// Runs `work` with an upload that is aborted then.
    async fn in_upload<T>(&self, work: impl AsyncFnOnce(&Multipart) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let upload = self.probe.store.begin(Key::Check(&self.probe.second)).await?;
        let ended = work(&upload).await;
        if let Err(error) = upload.abort().await {
            tracing::debug!(%error, "check: an upload could not be aborted");
        }
        ended
    }

    /// How long the bucket takes to copy the chunks, or why it did not.
    async fn copy(
        &self,
        upload: &Multipart,
        etags: &[String],
        len: u64,
    ) -> Result<Result<Duration, Composed>, StoreError> {
        let began = Instant::now();
        let sources = (0..).zip(etags);
        let sources = sources.map(|(number, etag)| {
            let key = self.chunk(&self.second, number * len);
            ComposeSource { key, etag, len }
        });
        let sources: Vec<_> = sources.collect();
        Ok(match self.probe.store.compose(upload, &sources).await? {
            Composed::Parts(_) => Ok(began.elapsed()),
            other => Err(other),
        })
    }

    /// How long it takes to read the chunks and to send them.
    async fn send(&self, upload: &Multipart, etags: &[String], len: u64) -> Result<Duration, StoreError> {
        let began = Instant::now();
        let sent = (0..).zip(1..).zip(etags).map(async |((number, part), etag)| {
            let pieces = self.read(self.chunk(&self.second, number * len), Some(etag)).await?.unwrap_or_default();
            let source: PartSource = Arc::new(move || stream::iter(pieces.clone()).map(Ok).boxed());
            upload.part(part, len, source).await
        });
        let _: Vec<Option<Part>> = try_join_all(sent).await?;
        Ok(began.elapsed())
    }

    async fn delete(&self, report: &mut Report, name: &str) {
        let store = &self.probe.store;
        let consequence = "chunks of large blobs stay in the bucket, and are paid for";
        let deleted = async {
            store.delete_directory(self.directory()).await?;
            store.objects(self.directory(), None, 1).await
        };
        match deleted.await {
            Ok((left, _)) if left.is_empty() => {
                let several = if store.deletes_batches() { "by one request" } else { "one by one" };
                let how = format!("chunks below pounce/fills/ were written, read, listed, and deleted {several}");
                report.passed(name, &how);
            }
            Ok(_) => self.probe.differs(report, name, "what was deleted is still there", consequence),
            Err(error) => self.probe.failed(report, name, &error, consequence),
        }
    }

    const fn chunk<'a>(&'a self, generation: &'a Uuid, offset: u64) -> Key<'a> {
        Key::FillChunk(&self.digest, self.upstream, generation, offset)
    }

    /// The pieces of an object; `None` if it is not there, or another one is.
    async fn read(&self, key: Key<'_>, etag: Option<&str>) -> Result<Option<Vec<Bytes>>, StoreError> {
        let store = self.probe.store.leader();
        let object = match etag {
            Some(etag) => store.stream_unchanged(key, None, etag).await?,
            None => store.stream(key, None).await?,
        };
        let Some(object) = object else {
            return Ok(None);
        };
        let unavailable =
            |error: std::io::Error| StoreError::Unavailable { operation: "GetObject", cause: error.to_string() };
        object.bytes.try_collect().await.map(Some).map_err(unavailable)
    }

    /// So many bytes: those of the probe again and again, whose number divides it.
    fn source(&self, len: u64) -> PartSource {
        let piece = self.probe.bytes.clone();
        let count = len / piece.len() as u64;
        Arc::new(move || {
            let piece = piece.clone();
            stream::iter((0..count).map(move |_| Ok(piece.clone()))).boxed()
        })
    }
}

/// What was measured, and whether the bucket copies about as fast as pounce sends: one measurement varies.
fn comparison((count, len): (u64, u64), (copied, sent): (Duration, Duration)) -> (bool, String) {
    let [copied_in, sent_in] = [copied, sent].map(|took| took.as_secs_f64());
    let how = format!(
        "{count} chunks of {} MiB were copied in {copied_in:.2} s, and read and sent again in {sent_in:.2} s",
        len >> 20
    );
    (copied <= sent + sent / 2, how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_is_advised_where_copying_is_slower() {
        let [fast, slow] = [120, 1500].map(Duration::from_millis);
        let (is_good, how) = comparison(CHUNKS, (fast, slow));
        assert!(is_good);
        assert_eq!(how, "3 chunks of 16 MiB were copied in 0.12 s, and read and sent again in 1.50 s");
        assert!(!comparison(FEW_CHUNKS, (slow, fast)).0);
    }
}
