//! Why there is no survey.

use std::io;

use crate::store::StoreError;

/// Why there is no survey.
#[derive(Debug, thiserror::Error)]
pub(in crate::registry) enum SurveyError {
    /// The bucket does not answer, or denies it.
    #[error("the bucket was not surveyed: {0}")]
    Store(#[from] StoreError),
    /// A temporary file.
    #[error("the bucket was not surveyed, because of a temporary file: {0}")]
    Spool(#[from] io::Error),
    /// The list repeats or skips keys.
    #[error("the bucket was not surveyed, because it lists {directory} out of order")]
    Order {
        /// What was listed.
        directory: String,
    },
    /// The list lacks what is there.
    #[error("the bucket was not surveyed, because its list is not whole: it lacks {key}, which is there")]
    NotWhole {
        /// What it lacks.
        key: String,
    },
    /// More than 4 billion repositories or manifests.
    #[error("the bucket has more repositories or manifests than can be counted")]
    TooMany,
    /// The process ends.
    #[error("the survey was stopped")]
    Stopped,
}
