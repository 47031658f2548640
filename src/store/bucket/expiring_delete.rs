//! A DELETE that dies by itself.
//!
//! A process that is paused between its decision and its request, or whose request is held up on the way, must not
//! delete later what was written again meanwhile. No condition protects from that: an object that is written again with
//! the same content has the same `ETag`. So the request is a presigned one. The bucket compares its expiry with its own
//! clock, and the time at which it begins is one that the bucket told: this machine's clock does not matter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::{DeleteObjectError, DeleteObjectOutput};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use bytes::Bytes;
use uuid::Uuid;

use super::handle::Store;
use super::object::Metadata;
use super::write::Condition;
use crate::oci::MediaType;
use crate::store::error::{StoreError, failure, found};
use crate::store::key::Key;

const OPERATION: &str = "DeleteObject";

/// How long after its beginning a delete may still happen that a client asked for: not longer than clients wait for the
/// answer, so that one that gives up can push again.
pub const DELETE_LIFE: Duration = Duration::from_secs(20);

/// The life of a request that is over, and how long it is over.
const EXPIRED: Duration = Duration::from_mins(1);

/// How far the bucket's clock may be behind [`Store::bucket_time`], which goes by whole seconds: S3 refuses a signature
/// that begins later.
const CLOCK: Duration = Duration::from_secs(2);

/// A DELETE that is signed, and can be sent once.
#[derive(Debug)]
pub struct ExpiringDelete {
    path: String,
    signed: PresignedRequest,
}

impl Store {
    /// Signs a DELETE that the bucket refuses from `begins + life` on, by its own clock.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn sign_delete(
        &self,
        key: Key<'_>,
        begins: SystemTime,
        life: Duration,
    ) -> Result<ExpiringDelete, StoreError> {
        let (path, inner) = (self.path(&key), &self.inner);
        let config = PresigningConfig::builder().start_time(begins).expires_in(life).build();
        let config = config.map_err(|error| StoreError::Unavailable {
            operation: "presigning DeleteObject",
            cause: error.to_string(),
        })?;
        let request = inner.client.delete_object().bucket(&inner.bucket).key(&path);
        let signed = Box::pin(request.presigned(config)).await;
        let signed = signed.map_err(|error| failure("presigning DeleteObject", &error))?;
        Ok(ExpiringDelete { path, signed })
    }

    /// Sends a signed DELETE: one attempt. An object that is not there is fine.
    ///
    /// # Errors
    /// The bucket did not do it, or did not answer: it may still do it until the signature expires.
    pub async fn send_signed_delete(&self, delete: ExpiringDelete) -> Result<(), StoreError> {
        found(OPERATION, self.send_signed(delete, once()).await).map(drop)
    }

    /// Deletes an object for a client, within [`DELETE_LIFE`] of the [`bucket_time`](Self::bucket_time) `begins`, or
    /// never. An object that is not there is fine. A bucket that refuses a presigned DELETE gets a plain one in the first
    /// half of that time.
    ///
    /// # Errors
    /// The bucket did not do it, or did not answer: it may still do it until that time is over.
    pub async fn delete_soon(&self, key: Key<'_>, begins: SystemTime) -> Result<(), StoreError> {
        let signed = self.sign_delete(key, begins.checked_sub(CLOCK).unwrap_or(begins), DELETE_LIFE).await?;
        let sent = found(OPERATION, self.send_signed(signed, aws_sdk_s3::Config::builder()).await).map(drop);
        let Err(refused @ (StoreError::Denied { .. } | StoreError::Clock { .. })) = sent else {
            return sent;
        };
        // The refusal told the bucket's clock.
        if self.bucket_time().duration_since(begins).is_ok_and(|age| age > DELETE_LIFE / 2) {
            let cause = format!("it took too long, so it was not done: {refused}");
            return Err(StoreError::Unavailable { operation: OPERATION, cause });
        }
        tracing::debug!(%refused, "the bucket refuses a presigned DELETE, and gets a plain one");
        self.delete(key).await
    }

    /// Whether the bucket refuses a presigned DELETE whose time is over, tested with an object of its own, which is
    /// deleted in the end. A proxy before the bucket that signs requests anew, or a bucket that does not look at
    /// `X-Amz-Expires`, does it.
    ///
    /// # Errors
    /// The bucket did not take the object, or did not answer.
    pub async fn refuses_expired_deletes(&self, id: &Uuid) -> Result<bool, StoreError> {
        let key = Key::Check(id);
        let content = Bytes::from_static(b"pounce");
        self.put(key, content, &MediaType::OCTET_STREAM, &Metadata::new(), Condition::Always).await?;
        let tried = async {
            let long_ago = self.bucket_time().checked_sub(2 * EXPIRED).unwrap_or(UNIX_EPOCH);
            let sent = self.send_signed(self.sign_delete(key, long_ago, EXPIRED).await?, once()).await;
            let Err(error) = sent else { return Ok(false) };
            match error.raw_response().map(|response| response.status().as_u16()) {
                // Stores have more than one status for it (Garage: 400).
                Some(400..=499) => self.leader().exists(key).await,
                _ => Err(failure(OPERATION, &error)),
            }
        };
        let refuses = tried.await;
        if let Err(error) = self.delete(key).await {
            tracing::debug!(%error, "cannot delete a test object below _check/");
        }
        refuses
    }

    async fn send_signed(
        &self,
        delete: ExpiringDelete,
        config: aws_sdk_s3::config::Builder,
    ) -> Result<DeleteObjectOutput, SdkError<DeleteObjectError>> {
        let ExpiringDelete { path, signed } = delete;
        let inner = &self.inner;
        inner.recent_writes.insert(&path);
        let request = inner.client.delete_object().bucket(&inner.bucket).key(&path).customize();
        let request = request.config_override(config).interceptor(AsSigned(signed));
        Box::pin(request.send()).await
    }
}

/// One attempt.
fn once() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled())
}

/// Sends a request as it was signed before, instead of as the SDK signed it now.
#[derive(Debug)]
struct AsSigned(PresignedRequest);

#[dyn_dispatch_hint]
impl Intercept for AsSigned {
    fn name(&self) -> &'static str {
        "AsSigned"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.set_uri(self.0.uri())?;
        // S3 refuses a presigned request with a second signature, and one with headers of its own that are not signed.
        let is_signed_anew = |name: &str| name == "authorization" || name.starts_with("x-amz-");
        let names: Vec<String> = request.headers().iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.into_iter().filter(|name| is_signed_anew(name)) {
            request.headers_mut().remove(name);
        }
        for (name, value) in self.0.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }
}
