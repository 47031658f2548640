//! Small objects by which processes agree: one rewrites its object, others see that.
//!
//! A write is done on a condition or not at all. A read tells when the bucket wrote the object and what time it is
//! there, both by the same response, so that ages do not depend on this machine's clock. Both end soon, whatever the
//! bucket does.

use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::handle::Store;
use super::read::system_time;
use super::write::{Condition, Swapped, named, written};
use crate::oci::MediaType;
use crate::store::error::{StoreError, found};
use crate::store::key::Key;
use crate::store::leader::set_consistent;
use crate::store::lengths::unsigned;
use crate::store::response_monitor::{Observer, ResponseDate};
use crate::store::sdk_config::{LEASE_ATTEMPT_TIMEOUT, lease_attempts};
use crate::telemetry::causes;

/// The largest object that [`Store::poll`] reads, in bytes.
pub const MAX_POLLED_BYTES: usize = 64 << 10;

const GET: &str = "GetObject";

/// The status of a response to a conditional GET without the content (RFC 9110, section 15.4.5).
const NOT_MODIFIED: u16 = 304;

/// An object as the bucket has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As the bucket spells it.
    pub etag: String,
    /// When it was written, by the bucket's clock and to a second.
    pub modified: Option<SystemTime>,
    /// The bucket's clock when it answered, to a second.
    pub date: Option<SystemTime>,
}

/// The outcome of [`Store::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The object is not there.
    Absent,
    /// The object still has the `ETag` that the caller knows.
    Unchanged {
        /// The bucket's clock when it answered, to a second.
        date: Option<SystemTime>,
    },
    /// The object, whole.
    Read(Version, Bytes),
    /// The object is larger than [`MAX_POLLED_BYTES`].
    TooLarge(Version),
}

impl Store {
    /// Writes a small object on a condition, and never without it. Two attempts of 2 seconds.
    ///
    /// # Errors
    /// The bucket did not answer; it may have written the object.
    pub async fn swap(&self, key: Key<'_>, bytes: Bytes, condition: Condition<'_>) -> Result<Swapped, StoreError> {
        self.swap_dated(key, bytes, condition).await.map(|(swapped, _)| swapped)
    }

    /// [`swap`](Self::swap), and the bucket's clock when it answered, to a second: not before the write.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    pub async fn swap_dated(
        &self,
        key: Key<'_>,
        bytes: Bytes,
        condition: Condition<'_>,
    ) -> Result<(Swapped, Option<SystemTime>), StoreError> {
        let (inner, dated) = (&self.inner, ResponseDate::default());
        let put = inner.put.short_lived();
        let request = self.put_request(&inner.client, &self.path(&key), &MediaType::OCTET_STREAM, &put, condition);
        let request = request.body(ByteStream::from(bytes)).customize();
        let request = request.config_override(lease_attempts()).interceptor(Observer(dated.clone()));
        let swapped = match written(Box::pin(request.send()).await, condition)? {
            Swapped::Written(etag) => Swapped::Written(named(etag)?),
            Swapped::Unmet => Swapped::Unmet,
            Swapped::Unsupported => Swapped::Unsupported,
        };
        Ok((swapped, self.date(&dated)))
    }

    /// Reads a small object at the bucket's leader, unless it still has the `ETag` that is `known`. Two attempts of 2
    /// seconds, and 2 seconds for its content.
    ///
    /// # Errors
    /// The bucket did not answer, or names no `ETag`.
    pub async fn poll(&self, key: Key<'_>, known: Option<&str>) -> Result<Polled, StoreError> {
        let (inner, dated) = (&self.inner, ResponseDate::default());
        let request = inner.client.get_object().bucket(&inner.bucket).key(self.path(&key));
        let request = request.set_if_none_match(known.map(str::to_owned)).customize();
        let request = request
            .config_override(lease_attempts())
            .interceptor(Observer(dated.clone()))
            .mutate_request(set_consistent(inner.eventually_consistent));
        let response = Box::pin(request.send()).await;
        let date = self.date(&dated);
        if let Err(error) = &response
            && error.raw_response().is_some_and(|response| response.status().as_u16() == NOT_MODIFIED)
        {
            return Ok(Polled::Unchanged { date });
        }
        let Some(object) = found(GET, response)? else {
            return Ok(Polled::Absent);
        };
        let unavailable = |cause: &str| StoreError::Unavailable { operation: GET, cause: cause.to_owned() };
        let etag = object.e_tag.ok_or_else(|| unavailable("the bucket did not name the ETag"))?;
        if Some(&etag[..]) == known {
            // A bucket, or a proxy before it, that ignores the condition.
            return Ok(Polled::Unchanged { date });
        }
        let version = Version { etag, modified: system_time(object.last_modified.as_ref()), date };
        if unsigned(object.content_length) > MAX_POLLED_BYTES as u64 {
            return Ok(Polled::TooLarge(version));
        }
        let bytes = Limited::new(object.body.into_inner(), MAX_POLLED_BYTES).collect();
        match tokio::time::timeout(LEASE_ATTEMPT_TIMEOUT, bytes).await {
            Ok(Ok(bytes)) => Ok(Polled::Read(version, bytes.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(Polled::TooLarge(version)),
            Ok(Err(error)) => Err(unavailable(&causes(&*error))),
            Err(_) => Err(unavailable("the content takes too long")),
        }
    }

    /// The bucket's clock by a response. The S3 server inside this process has this machine's.
    fn date(&self, dated: &ResponseDate) -> Option<SystemTime> {
        dated.get().or_else(|| self.inner.embedded.is_some().then(SystemTime::now))
    }
}
