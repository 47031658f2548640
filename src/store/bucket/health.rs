//! Whether the bucket is there and takes writes, for health probes that ask every few seconds.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use bytes::Bytes;
use uuid::Uuid;

use super::handle::Store;
use super::object::Metadata;
use super::write::Condition;
use crate::oci::MediaType;
use crate::store::error::{StoreError, found};
use crate::store::key::Key;

/// How many bytes are written to learn whether the bucket is still full: about as many as a manifest and its links.
const WRITE_BYTES: usize = 64 << 10;

impl Store {
    /// Asks whether the bucket is there, for at most `timeout`: twice, because the server may have closed the first
    /// connection. If the last write found the bucket full, a small one is tried.
    ///
    /// # Errors
    /// It is not there, or does not answer; `Full`: it takes no writes.
    pub async fn check_health(&self, timeout: Duration) -> Result<(), StoreError> {
        const OPERATION: &str = "HeadBucket";
        let unavailable = |cause: &str| StoreError::Unavailable { operation: OPERATION, cause: cause.to_owned() };
        let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
        let twice = aws_sdk_s3::config::Builder::new().retry_config(retries);
        let request = self.inner.client.head_bucket().bucket(&self.inner.bucket);
        let request = Box::pin(request.customize().config_override(twice).send());
        let check = async {
            found(OPERATION, request.await)?.ok_or_else(|| unavailable("there is no such bucket"))?;
            if self.inner.monitor.may_be_full() {
                self.try_write().await?;
            }
            Ok(())
        };
        let checked = tokio::time::timeout(timeout, check).await;
        checked.unwrap_or_else(|_| Err(unavailable("it takes too long")))
    }

    /// Whether the bucket is no longer full. Other errors, such as missing permission, are not its health.
    async fn try_write(&self) -> Result<(), StoreError> {
        // Always the same key: an abandoned check leaves one object at most.
        let id = Uuid::nil();
        let (key, bytes) = (Key::Check(&id), Bytes::from(vec![0; WRITE_BYTES]));
        let (media_type, metadata) = (MediaType::OCTET_STREAM, Metadata::new());
        match self.put(key, bytes, &media_type, &metadata, Condition::Always).await {
            Ok(_) => self.delete(key).await,
            Err(error @ StoreError::Full { .. }) => Err(error),
            Err(_) => Ok(()),
        }
    }
}
