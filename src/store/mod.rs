//! The bucket: the only state that pounce has, and the only thing that replicas share.
//!
//! One concrete [`Store`] over `aws-sdk-s3`, for Tigris, for any S3, and for the S3 server inside the process
//! ([`embedded`]) that stands in when no storage is configured. Its seam for tests is the S3 wire. "Not there" is a
//! value here; the caller knows what was missing.

mod attempt_span;
mod body;
mod bucket;
mod connect_error;
mod content_length;
mod credentials;
mod embedded;
mod error;
mod etag;
mod fill_path;
mod filled_for;
mod key;
mod lack;
mod leader;
mod lengths;
mod location;
mod options;
mod part_sizes;
mod proxy;
mod repository_path;
mod response_monitor;
mod sdk_config;
mod url_template;

pub use body::PartSource;
pub use bucket::{
    ArchiveRule, Completed, ComposeSource, Composed, Condition, Conditions, DELETE_LIFE, DELETING, ExpiringDelete,
    KeyRights, Lifecycle, Listed, LoginKeys, MAX_POLLED_BYTES, Metadata, Multipart, Object, ObjectStream, Part,
    PartSender, Polled, Store, Stored, Swapped, Version,
};
pub use connect_error::ConnectError;
pub use embedded::Embedded;
pub use error::StoreError;
pub use etag::{is_same_etag, is_weak_etag};
pub use fill_path::{FillObject, UpstreamId};
pub use filled_for::FilledFor;
pub use key::{GcGroup, Key, UploadMark, blob_digest};
pub use location::Location;
pub use part_sizes::{MAX_PART_BYTES, MAX_PARTS, PartSizes};
pub use repository_path::{RepositoryObject, split_repository};
pub use url_template::PresignedUrl;
