//! The bucket: the only state that pounce has, and the only thing that replicas share.
//!
//! One concrete [`Store`] over `aws-sdk-s3`, for Tigris, for any S3, and for the S3 server inside the process
//! ([`embedded`]) that stands in when no storage is configured. Its seam for tests is the S3 wire. "Not there" is a
//! value here; the caller knows what was missing.

mod answers;
mod body;
mod conditions;
mod connect;
mod content_length;
mod credentials;
mod embedded;
mod error;
mod filled_for;
mod key;
mod leader;
mod lifecycle;
mod listing;
mod multipart;
mod object;
mod part_sender;
mod part_sizes;
mod presign;
mod presigned;
mod proxy;
mod reach;
mod relocate;
mod remove;
mod stream;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};

use tokio::sync::OnceCell;

pub use body::PartSource;
pub use conditions::Conditions;
pub use connect::ConnectError;
pub use embedded::Embedded;
pub use error::StoreError;
pub use filled_for::FilledFor;
pub use key::{Key, UploadMark, blob_digest};
pub use lifecycle::{Freeze, Lifecycle};
pub use listing::Listed;
pub use multipart::{Completed, Multipart, Part};
pub use object::{Metadata, Object, Stored};
pub use part_sender::PartSender;
pub use part_sizes::{MAX_PART_BYTES, MAX_PARTS, PartSizes};
pub use presigned::Presigned;
pub use stream::ObjectStream;
pub use write::Condition;

/// A bucket, cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// For what is answered at once: short timeouts, several attempts.
    client: aws_sdk_s3::Client,
    /// For bodies of any length: no timeout on the whole.
    bulk: aws_sdk_s3::Client,
    bucket: String,
    /// In front of every key; empty, or ending in a slash.
    root: String,
    put: PutOptions,
    part_size: u64,
    presign: presign::Presigner,
    /// The bucket's regions may lag behind each other (Tigris).
    lags: bool,
    /// See [`Store::redirect_min_age`].
    redirect_min_age: Duration,
    answers: answers::Answers,
    /// See [`Store::keeps_conditions`].
    conditions: OnceCell<bool>,
    changed: leader::Changed,
    /// The bucket can rename an object (Tigris, and the embedded server).
    renames: bool,
    copy: relocate::CopyOptions,
    embedded: Option<Embedded>,
}

/// What every new object gets.
#[derive(Clone, Debug, Default)]
struct PutOptions {
    encryption: Option<ServerSideEncryption>,
    kms_key: Option<String>,
    storage_class: Option<StorageClass>,
    acl: Option<ObjectCannedAcl>,
}

impl Store {
    /// The S3 server inside this process, where the bucket is a folder: its requests come in through pounce's own
    /// listener.
    #[must_use]
    pub fn embedded(&self) -> Option<&Embedded> {
        self.inner.embedded.as_ref()
    }

    /// The configured size of an upload's parts, in bytes.
    #[must_use]
    pub fn part_size(&self) -> u64 {
        self.inner.part_size
    }

    /// How old a blob in the bucket must be before clients are sent there for it (`storage.redirect.minage`): nearer to
    /// them, the bucket may not have heard of it yet. Zero: any age will do.
    #[must_use]
    pub fn redirect_min_age(&self) -> Duration {
        self.inner.redirect_min_age
    }

    fn path(&self, key: &Key<'_>) -> String {
        format!("{}{key}", self.inner.root)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("bucket", &self.inner.bucket).finish_non_exhaustive()
    }
}
