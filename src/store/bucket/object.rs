//! Small objects: HEAD and GET.
//!
//! The SDK's futures are some 15 KB each. They are boxed, so that they do not enlarge the future of every request, warm
//! ones too.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::handle::Store;
use super::read::{Response, system_time};
use crate::manifest_memory::ManifestMemory;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, MediaType};
use crate::store::error::StoreError;
use crate::store::filled_for::FilledFor;
use crate::store::key::Key;
use crate::store::leader::set_consistent;
use crate::store::lengths::unsigned;
use crate::telemetry::causes;

/// How often a small object is requested whose body breaks off.
const ATTEMPTS: u32 = 3;

/// User metadata of an object.
pub type Metadata = HashMap<String, String>;

/// The user metadata of a link that is being deleted: the digest that it holds as long as it is there. Its content is
/// another digest, which no content has, so that its `ETag` is its own, and distribution finds nothing under it.
pub const DELETING: &str = "pounce-deleting";

/// An object that is in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// How long ago it was written, by the bucket's clock and to a second; never too long.
    pub age: Duration,
    /// The repository that a fill copied it for, if it was a fill.
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
    /// Differs from that of any other content under the same key.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

impl Object {
    /// The digest that a link holds.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        if let Some(digest) = self.metadata.get(DELETING) {
            return digest.parse().ok();
        }
        std::str::from_utf8(&self.bytes).ok()?.trim().parse().ok()
    }
}

/// One attempt to read a small object.
enum Attempt {
    Whole(Box<Object>),
    Absent,
    /// The body broke off.
    Cut(String),
}

impl Store {
    /// Asks for an object's size and age; `None` when it is not there. One that only the leader has is new, whatever
    /// its date: AWS dates what comes in parts by the moment at which the upload began.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn head(&self, key: Key<'_>) -> Result<Option<Stored>, StoreError> {
        self.head_path(&self.path(&key)).await
    }

    pub(super) async fn head_path(&self, path: &str) -> Result<Option<Stored>, StoreError> {
        let send = |asks_leader| {
            let request = self.inner.client.head_object().bucket(&self.inner.bucket).key(path);
            Box::pin(request.customize().mutate_request(set_consistent(asks_leader)).send())
        };
        let response = self.read("HeadObject", self.must_ask_leader(path), send).await?;
        Ok(response.map(|Response { output: head, is_everywhere }| Stored {
            size: unsigned(head.content_length()),
            age: if is_everywhere { self.age(system_time(head.last_modified())) } else { Duration::ZERO },
            filled_for: head.metadata().and_then(FilledFor::read),
        }))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn exists(&self, key: Key<'_>) -> Result<bool, StoreError> {
        Ok(self.head(key).await?.is_some())
    }

    /// Reads an object that is not larger than a manifest; `None` when it is not there.
    ///
    /// # Errors
    /// The bucket did not answer, or the object is larger.
    pub async fn get(&self, key: Key<'_>) -> Result<Option<Object>, StoreError> {
        self.get_up_to(key, MAX_MANIFEST_BYTES as u64).await
    }

    /// Reads an object of at most `limit` bytes; `None` when it is not there.
    ///
    /// # Errors
    /// The bucket did not answer, or the object is larger.
    pub async fn get_up_to(&self, key: Key<'_>, limit: u64) -> Result<Option<Object>, StoreError> {
        let path = self.path(&key);
        let mut attempts = 1;
        loop {
            match self.get_once(&path, limit).await? {
                Attempt::Whole(object) => return Ok(Some(*object)),
                Attempt::Absent => return Ok(None),
                // The SDK retries a request without a response, and not one whose body breaks off.
                Attempt::Cut(_) if attempts < ATTEMPTS => attempts += 1,
                Attempt::Cut(cause) => {
                    return Err(StoreError::Unavailable { operation: "GetObject", cause });
                }
            }
        }
    }

    async fn get_once(&self, path: &str, limit: u64) -> Result<Attempt, StoreError> {
        let send = |asks_leader| {
            let request = self.inner.client.get_object().bucket(&self.inner.bucket).key(path);
            Box::pin(request.customize().mutate_request(set_consistent(asks_leader)).send())
        };
        let response = self.read("GetObject", self.must_ask_leader(path), send).await?;
        let Some(Response { output: object, .. }) = response else {
            return Ok(Attempt::Absent);
        };
        let too_large =
            || StoreError::Corrupt { key: path.to_owned(), cause: format!("it is larger than {} MiB", limit >> 20) };
        if unsigned(object.content_length()) > limit {
            return Err(too_large());
        }
        let media_type = object.content_type().and_then(|text| text.parse().ok());
        let metadata = object.metadata().cloned().unwrap_or_default();
        let etag = object.e_tag().map(str::to_owned);
        let modified = system_time(object.last_modified());
        let length = object.content_length().and_then(|it| it.try_into().ok());
        let memory = ManifestMemory::reserve(length).await;
        let memory = memory.ok_or_else(|| StoreError::Unavailable {
            operation: "GetObject",
            cause: "there is no memory for so large an object".to_owned(),
        })?;
        // The response may not announce its length.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = match Limited::new(object.body.into_inner(), limit).collect().await {
            Ok(bytes) => memory.hold(bytes.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => return Ok(Attempt::Cut(causes(&*error))),
        };
        Ok(Attempt::Whole(Box::new(Object { bytes, media_type, metadata, etag, modified })))
    }

    /// When distribution last used this bucket as a pull-through cache, if it ever did: it then keeps a schedule there.
    /// A failure counts as never.
    pub async fn last_proxied(&self) -> Option<SystemTime> {
        let path = format!("{}scheduler-state.json", self.inner.root);
        let request = self.inner.client.head_object().bucket(&self.inner.bucket).key(path);
        let found = Box::pin(request.send()).await.ok()?;
        system_time(found.last_modified())
    }
}
