//! Reads of a bucket that may be eventually consistent: which of its regions they ask.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime;

use super::handle::Store;
use crate::store::error::{StoreError, found};

/// The status of a request whose condition does not hold (RFC 9110, section 15.5.13).
pub(super) const UNMET: u16 = 412;

/// The response to a read.
pub(super) struct Response<T> {
    pub(super) output: T,
    /// `false`: only the leader has the object.
    pub(super) is_everywhere: bool,
}

impl Store {
    /// A read of this key must ask the leader: the nearest region may have an old state.
    pub(super) fn must_ask_leader(&self, path: &str) -> bool {
        self.reads_leader() || self.inner.recent_writes.contains(path)
    }

    /// Sends a read by `send`, which is told whether to ask the leader; and once more at the leader for what the
    /// nearest region does not have. `None`: the object is not there, or is not the one that `If-Match` names.
    pub(super) async fn read<T, E, F>(
        &self,
        operation: &'static str,
        asks_leader: bool,
        send: impl Fn(bool) -> F,
    ) -> Result<Option<Response<T>>, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let found = |response: Result<T, SdkError<E, HttpResponse>>| match response {
            Err(error) if error.raw_response().is_some_and(|it| it.status().as_u16() == UNMET) => Ok(None),
            response => found(operation, response),
        };
        match found(send(asks_leader).await)? {
            Some(output) => Ok(Some(Response { output, is_everywhere: true })),
            None if asks_leader || !self.inner.eventually_consistent => Ok(None),
            None => {
                let output = found(send(true).await)?;
                Ok(output.map(|output| Response { output, is_everywhere: false }))
            }
        }
    }

    /// The time by the bucket's clock, to a second, as far as the bucket tells; else by this machine's.
    #[must_use]
    pub fn bucket_time(&self) -> SystemTime {
        self.inner.monitor.bucket_time()
    }

    /// How long ago that was, by the bucket's own clock, to a second, and never too long; zero where it is unknown.
    #[must_use]
    pub fn age(&self, modified: Option<SystemTime>) -> Duration {
        let age = modified.and_then(|modified| self.bucket_time().duration_since(modified).ok());
        // Both dates are cut to seconds.
        age.unwrap_or_default().saturating_sub(Duration::from_secs(1))
    }
}

pub(super) fn system_time(time: Option<&DateTime>) -> Option<SystemTime> {
    SystemTime::try_from(*time?).ok()
}
