//! Single objects: look, read.
//!
//! The SDK's futures are some 15 KB each; they are boxed here, so that they do not become part of the future of every
//! request, which a warm one would only carry around.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::translate;
use super::leader::at_leader;
use super::{FilledFor, Key, Store, StoreError};
use crate::oci::{Digest, LargeMemory, MAX_MANIFEST_BYTES, MediaType};
use crate::telemetry::causes;

/// How often a small object is read whose bytes break off.
const ATTEMPTS: u32 = 3;

/// User metadata of an object.
pub type Metadata = HashMap<String, String>;

/// That an object is in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// How long ago it was written, by the bucket's clock and to a second; never too long.
    pub age: Duration,
    /// The repository that a fill copied it for, if one did.
    pub filled_for: Option<FilledFor>,
}

impl Stored {
    /// An object that was written just now.
    #[must_use]
    pub const fn just_now(size: u64) -> Self {
        Self { size, age: Duration::ZERO, filled_for: None }
    }
}

/// A small object, whole.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its content.
    pub bytes: Bytes,
    /// Its content type, if it has a well-formed one.
    pub media_type: Option<MediaType>,
    /// Its user metadata.
    pub metadata: Metadata,
    /// Tells this content from any other under the same key.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

impl Object {
    /// The digest that a link holds.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        std::str::from_utf8(&self.bytes).ok()?.trim().parse().ok()
    }
}

/// What came of reading a small object once.
enum Read {
    Whole(Box<Object>),
    Absent,
    /// It broke off.
    Cut(String),
}

impl Store {
    /// Asks for an object's size and age; `None` when it is not there. One that only the leader has is new, whatever
    /// its date says: AWS dates what comes in parts by the moment at which the upload began.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn head(&self, key: Key<'_>) -> Result<Option<Stored>, StoreError> {
        let path = self.path(&key);
        let now = self.has_changed(&path);
        let request = self.inner.client.head_object().bucket(&self.inner.bucket).key(path);
        let first = request.clone().customize().mutate_request(at_leader(now));
        let mut is_everywhere = true;
        let answer = match Box::pin(first.send()).await {
            Err(error) if self.inner.lags && !now && translate("HeadObject", &error).is_none() => {
                is_everywhere = false;
                Box::pin(request.customize().mutate_request(at_leader(true)).send()).await
            }
            other => other,
        };
        match answer {
            Ok(head) => Ok(Some(Stored {
                size: unsigned(head.content_length()),
                age: if is_everywhere { self.age(system_time(head.last_modified())) } else { Duration::ZERO },
                filled_for: head.metadata().and_then(FilledFor::read),
            })),
            Err(error) => translate("HeadObject", &error).map_or(Ok(None), Err),
        }
    }

    /// How long ago that was, by the bucket's own clock, to a second, and never too long; zero where it is not known.
    #[must_use]
    pub fn age(&self, modified: Option<SystemTime>) -> Duration {
        let now = self.inner.answers.bucket_time();
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        // Both dates are cut to seconds.
        age.unwrap_or_default().saturating_sub(Duration::from_secs(1))
    }

    /// Whether an object is there, whatever another region has just done to it.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn is_there_now(&self, key: Key<'_>) -> Result<bool, StoreError> {
        self.path_is_there_now(&self.path(&key)).await
    }

    pub(super) async fn path_is_there_now(&self, path: &str) -> Result<bool, StoreError> {
        let request = self
            .inner
            .client
            .head_object()
            .bucket(&self.inner.bucket)
            .key(path)
            .customize()
            .mutate_request(at_leader(self.inner.lags));
        match Box::pin(request.send()).await {
            Ok(_) => Ok(true),
            Err(error) => translate("HeadObject", &error).map_or(Ok(false), Err),
        }
    }

    /// Reads an object that is not larger than a manifest; `None` when it is not there.
    ///
    /// # Errors
    /// The bucket did not answer, or the object is larger.
    pub async fn get(&self, key: Key<'_>) -> Result<Option<Object>, StoreError> {
        self.get_up_to(key, MAX_MANIFEST_BYTES as u64).await
    }

    /// The same, whatever another region has just done to it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_now(&self, key: Key<'_>) -> Result<Option<Object>, StoreError> {
        self.read(key, MAX_MANIFEST_BYTES as u64, true).await
    }

    /// Reads an object of at most `limit` bytes; `None` when it is not there.
    ///
    /// # Errors
    /// The bucket did not answer, or the object is larger.
    pub async fn get_up_to(&self, key: Key<'_>, limit: u64) -> Result<Option<Object>, StoreError> {
        self.read(key, limit, false).await
    }

    async fn read(&self, key: Key<'_>, limit: u64, now: bool) -> Result<Option<Object>, StoreError> {
        let mut attempts = 1;
        loop {
            match self.get_once(key, limit, now).await? {
                Read::Whole(object) => return Ok(Some(*object)),
                Read::Absent => return Ok(None),
                // The SDK tries what has no answer again, and not what has half of one.
                Read::Cut(_) if attempts < ATTEMPTS => attempts += 1,
                Read::Cut(cause) => {
                    return Err(StoreError::Unavailable { operation: "GetObject", cause });
                }
            }
        }
    }

    async fn get_once(&self, key: Key<'_>, limit: u64, now: bool) -> Result<Read, StoreError> {
        let path = self.path(&key);
        let now = self.inner.lags && now || self.has_changed(&path);
        let request = self.inner.client.get_object().bucket(&self.inner.bucket).key(&path);
        let first = request.clone().customize().mutate_request(at_leader(now));
        let answer = match Box::pin(first.send()).await {
            Err(error) if self.inner.lags && !now && translate("GetObject", &error).is_none() => {
                Box::pin(request.customize().mutate_request(at_leader(true)).send()).await
            }
            other => other,
        };
        let object = match answer {
            Ok(object) => object,
            Err(error) => return translate("GetObject", &error).map_or(Ok(Read::Absent), Err),
        };
        let too_large =
            || StoreError::Corrupt { key: path.clone(), cause: format!("it is larger than {} MiB", limit >> 20) };
        if unsigned(object.content_length()) > limit {
            return Err(too_large());
        }
        let media_type = object.content_type().and_then(|text| text.parse().ok());
        let metadata = object.metadata().cloned().unwrap_or_default();
        let etag = object.e_tag().map(str::to_owned);
        let modified = system_time(object.last_modified());
        // Also where it does not say how long it is.
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let length = object.content_length().and_then(|it| it.try_into().ok());
        let memory = LargeMemory::reserve(length).await;
        let memory = memory.ok_or_else(|| StoreError::Unavailable {
            operation: "GetObject",
            cause: "there is no memory for so large an object".to_owned(),
        })?;
        let bytes = match Limited::new(object.body.into_inner(), most).collect().await {
            Ok(bytes) => memory.hold(bytes.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => return Ok(Read::Cut(causes(&*error))),
        };
        Ok(Read::Whole(Box::new(Object { bytes, media_type, metadata, etag, modified })))
    }

    /// When distribution last used this bucket as a pull-through cache, if it ever did: it keeps a schedule there then.
    /// Failing to find out is not worth failing for.
    pub async fn last_proxied(&self) -> Option<SystemTime> {
        let path = format!("{}scheduler-state.json", self.inner.root);
        let request = self.inner.client.head_object().bucket(&self.inner.bucket).key(path);
        let found = Box::pin(request.send()).await.ok()?;
        system_time(found.last_modified())
    }
}

fn system_time(time: Option<&DateTime>) -> Option<SystemTime> {
    SystemTime::try_from(*time?).ok()
}

pub(super) fn unsigned(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}
