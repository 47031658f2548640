//! `auth.bucketkeys`: keys of the bucket as logins.

use std::time::Duration;

/// What the names of users with keys of the bucket begin with, before a colon.
pub const BUCKET: &str = "bucket";

/// How long it is believed what keys of the bucket may do, tokens and sessions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketKeysLife(pub Duration);

impl Default for BucketKeysLife {
    fn default() -> Self {
        Self(Duration::from_mins(5))
    }
}
