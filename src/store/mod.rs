//! The bucket: the only state that pounce has, and the only thing that replicas share.
//!
//! One concrete [`Store`] over `aws-sdk-s3`, for Tigris, for any S3, and for the S3 server inside the process
//! ([`embedded`]) that stands in when no storage is configured. Its seam for tests is the S3 wire. "Not there" is a
//! value here; the caller knows what was missing.
//!
//! [`bucket`] declares [`Store`]. Each group of its operations is a file, with an `impl` block of its own.

mod body;
mod error;
mod filled_for;
mod key;
mod leader;
mod lengths;
mod options;
mod part_sizes;
mod response_monitor;
mod url_template;

mod connect_error;
mod content_length;
mod credentials;
mod embedded;
mod proxy;
mod sdk_config;

mod bucket;
mod conditions;
mod connect;
mod delete;
mod health;
mod lifecycle;
mod listing;
mod multipart;
mod object;
mod part_sender;
mod presign;
mod read;
mod relocate;
mod stream;
mod write;

pub use body::PartSource;
pub use bucket::Store;
pub use conditions::Conditions;
pub use connect_error::ConnectError;
pub use embedded::Embedded;
pub use error::StoreError;
pub use filled_for::FilledFor;
pub use key::{Key, UploadMark, blob_digest};
pub use lifecycle::{ArchiveRule, Lifecycle};
pub use listing::Listed;
pub use multipart::{Completed, Multipart, Part};
pub use object::{Metadata, Object, Stored};
pub use part_sender::PartSender;
pub use part_sizes::{MAX_PART_BYTES, MAX_PARTS, PartSizes};
pub use stream::ObjectStream;
pub use url_template::PresignedUrl;
pub use write::Condition;
