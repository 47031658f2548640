//! The task of one fill, from its beginning to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::job::{Job, Leftovers, NotFilled};
use super::meter::Meter;
use super::running::{Fill, FillProgress, Phase, Role};
use super::shared_fill::SharedFill;
use crate::oci::{Error, ErrorCode};

/// The result of a fill whose blob this process stored.
const STORED: &str = "stored";
/// How long the deletion of chunks may take that is under way when the registry begins to shut down.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long chunks stay when the registry begins to shut down: followers look once a second whether the blob is stored,
/// and read it then.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Takes a fill off the list when it ends, however it ends.
struct ListedFill<'a> {
    job: &'a Job,
    fill: &'a Arc<Fill>,
    result: &'static str,
}

impl Drop for ListedFill<'_> {
    fn drop(&mut self) {
        self.job.remove(self.fill);
        self.job.fills.metrics.fill_ends(self.result);
        self.job.end_trace(self.fill, self.result);
    }
}

impl Job {
    /// Ends the span of the fill.
    fn end_trace(&self, fill: &Fill, result: &'static str) {
        let span = &fill.trace;
        if span.is_recording() {
            span.set("pounce.repository", self.blob.name.to_string());
            span.set("pounce.digest", self.blob.digest.to_string());
            span.set("pounce.fill.result", result);
            span.set("pounce.fill.role", fill.role().as_str());
            if let Some(filled) = fill.filled_now() {
                let (bytes, retries) = (filled.bytes_there(), filled.meter.retries.load(Ordering::Relaxed));
                span.set("pounce.fill.bytes", i64::try_from(bytes).unwrap_or(i64::MAX));
                span.set("pounce.fill.retries", i64::try_from(retries).unwrap_or(i64::MAX));
            }
            if result == "failed" {
                span.fail("fill_failed");
            }
        }
        span.end();
    }

    /// Fills the blob, whichever process does it, and tells those that wait.
    pub(super) async fn run(self, fill: Arc<Fill>, progress: FillProgress) {
        let (began, mut asked) = (Instant::now(), Instant::now());
        self.fills.metrics.fill_begins();
        let FillProgress { phase, ended } = progress;
        let mut listed = ListedFill { job: &self, fill: &fill, result: "failed" };
        let (repository, digest) = (&self.blob.name, &self.blob.digest);
        let mut leftovers = Leftovers::None;
        let result = match self.permit(&fill).await {
            Ok(_permit) => {
                fill.set_role(Role::Alone);
                asked = Instant::now();
                let filling = async {
                    match SharedFill::new(&self, &fill, &phase) {
                        Some(shared) => Box::pin(shared.run(&mut leftovers)).await,
                        None => self.fill_alone(&fill, &phase, None, &mut leftovers).await,
                    }
                };
                filling.await
            }
            Err(refusal) => Err(NotFilled::Refused(refusal)),
        };
        listed.result = match (&result, &leftovers) {
            (Err(NotFilled::Unneeded), _) => "left",
            (Err(_), _) => "failed",
            // The process that stores a blob has its chunks, or its lease, to delete.
            (Ok(_), Leftovers::None) => "followed",
            (Ok(_), _) => STORED,
        };
        let seconds = began.elapsed().as_secs_f64();
        let result = match result {
            Ok(bytes) => {
                self.log_end(&fill, listed.result == STORED, (bytes, seconds), asked);
                Ok(bytes)
            }
            Err(NotFilled::Refused(refusal)) => {
                tracing::debug!(%repository, %digest, %refusal, "a fill did not begin");
                // First, so that no request joins a fill that has ended. Requests that wait for it log why.
                self.remove(&fill);
                ended.send_replace(Some(Err(refusal.clone().describe(&self.blob))));
                phase.send_replace(Phase::Refused(refusal));
                return;
            }
            Err(NotFilled::Unneeded) => {
                tracing::debug!(%repository, %digest, seconds, "no client needs a blob that another process fills");
                Err(Error::new(ErrorCode::Unavailable, "no client waited for this blob, try again"))
            }
            Err(NotFilled::Failed(cause)) => {
                let upstream = self.blob.upstream.label();
                let received = fill.filled_now().map(|filled| filled.bytes_there());
                tracing::warn!(%repository, %digest, upstream, cause, received, seconds, "a fill failed");
                let message = format!("{digest} could not be stored, the log tells why");
                Err(Error::new(ErrorCode::Unavailable, message).caused_by(io::Error::other(cause)))
            }
        };
        drop(listed);
        ended.send_replace(Some(result));
        match leftovers {
            Leftovers::None => {}
            Leftovers::Chunks(filled, generation) => self.delete_chunks(&filled, generation).await,
            Leftovers::Lease(keeper, grace) => {
                let background = Arc::clone(&self.fills.background);
                let delete = async move {
                    tokio::select! {
                        () = tokio::time::sleep(grace) => {}
                        () = background.closing() => tokio::time::sleep(grace.min(LAST_LOOK)).await,
                    }
                    keeper.delete().await;
                };
                self.fills.background.spawn_unless_closing(DELETE_TIMEOUT, delete);
            }
        }
    }

    /// Logs how a fill came to its blob: this process stored it, or another one. The upstream was asked at `asked`.
    fn log_end(&self, fill: &Fill, is_own: bool, (bytes, seconds): (u64, f64), asked: Instant) {
        let (repository, digest, upstream) = (&self.blob.name, &self.blob.digest, self.blob.upstream.label());
        let shared = fill.role().as_str();
        let filled = fill.filled_now();
        let meter = filled.as_ref().map(|filled| &filled.meter);
        let first_byte_ms = meter.and_then(Meter::first).map(|first| {
            let waited = first.saturating_duration_since(asked).as_millis();
            u64::try_from(waited).unwrap_or(u64::MAX)
        });
        #[expect(clippy::cast_precision_loss, reason = "sizes of blobs are less than 2^53")]
        let mb_per_s = (bytes as f64 / 1e5 / seconds.max(1e-6)).round() / 10.0;
        let connections = meter.map(Meter::most_connections);
        let retries = meter.map(|meter| meter.retries.load(Ordering::Relaxed));
        if is_own {
            tracing::info!(
                %repository, %digest, bytes, upstream, shared, first_byte_ms, seconds, mb_per_s, connections, retries,
                "stored a blob"
            );
        } else {
            tracing::info!(
                %repository, %digest, bytes, shared, first_byte_ms, seconds, mb_per_s, "another process stored a blob"
            );
        }
    }
}
