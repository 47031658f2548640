//! Where a bucket is.

use std::path::PathBuf;

/// Where a bucket is, for the log and for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder, by its absolute path.
    Folder(PathBuf),
    /// A bucket of an S3.
    Bucket {
        /// Its name, and behind a slash the prefix of its keys, if there is one.
        bucket: String,
        /// The URL of the S3, or the region of AWS.
        endpoint: String,
    },
}
