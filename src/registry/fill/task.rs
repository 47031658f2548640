//! The task of one fill, from its beginning to its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Job, Leftovers, NotFilled};
use super::running::{Fill, FillProgress, Phase};
use super::shared_fill::SharedFill;
use crate::oci::{Error, ErrorCode};

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
    }
}

impl Job {
    /// Fills the blob, whichever process does it, and tells those that wait.
    pub(super) async fn run(self, fill: Arc<Fill>, progress: FillProgress) {
        let began = Instant::now();
        self.fills.metrics.fill_begins();
        let FillProgress { phase, ended } = progress;
        let mut listed = ListedFill { job: &self, fill: &fill, result: "failed" };
        let (repository, digest) = (&self.blob.name, &self.blob.digest);
        let mut leftovers = Leftovers::None;
        let result = match self.permit(&fill).await {
            Ok(_permit) => {
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
            (Ok(_), _) => "stored",
        };
        let seconds = began.elapsed().as_secs_f64();
        let result = match result {
            Ok(bytes) => {
                if matches!(leftovers, Leftovers::None) {
                    tracing::info!(%repository, %digest, bytes, seconds, "another process stored a blob");
                } else {
                    tracing::info!(%repository, %digest, bytes, seconds, "stored a blob");
                }
                Ok(bytes)
            }
            Err(NotFilled::Refused(refusal)) => {
                tracing::debug!(%repository, %digest, ?refusal, "a fill did not begin");
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
                tracing::warn!(%repository, %digest, cause, seconds, "a fill failed");
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
}
