//! `storage`: the bucket, redirects to it, and its maintenance.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::gc_timing::GcTiming;
use super::hosts::WebUrl;
use super::retention::RetentionRule;
use super::sizes::ByteSize;
use super::values::Secret;
use super::{durations, lists};

/// `storage`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Which of the two below is used. Not a key: loading derives it.
    #[serde(skip)]
    pub driver: Driver,
    /// A bucket at Tigris, or any S3.
    pub s3: S3,
    /// A folder, behind an S3 server inside pounce.
    pub filesystem: Filesystem,
    /// Redirects of blob GETs to the bucket.
    pub redirect: Redirect,
    /// Whether content can be deleted.
    pub delete: Delete,
    /// What goes after a time; the first rule that a repository fits decides.
    pub retention: Vec<RetentionRule>,
    /// The most bytes that the bucket holds of pounce: what came from upstreams and was not pulled for longest goes until
    /// it fits.
    pub maxsize: Option<ByteSize>,
    /// Clean-up, and the read-only mode.
    pub maintenance: Maintenance,
    /// How long the steps of garbage collection take. Not a key.
    #[serde(skip)]
    pub gc_timing: GcTiming,
}

/// `storage.delete`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delete {
    /// Whether tags, manifests and blobs can be deleted.
    pub enabled: bool,
}

impl Default for Delete {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `storage.maintenance`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// The deletion of abandoned uploads.
    pub uploadpurging: UploadPurging,
    /// The deletion of what nothing needs, and of what `storage.retention`, `storage.maxsize` and `proxy.ttl` let go.
    pub gc: GarbageCollection,
    /// The read-only mode.
    pub readonly: ReadOnly,
}

/// `storage.maintenance.uploadpurging`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadPurging {
    /// Whether abandoned uploads are deleted.
    pub enabled: bool,
    /// The age at which an upload counts as abandoned.
    #[serde(with = "durations")]
    pub age: Duration,
    /// The interval between searches for them.
    #[serde(with = "durations")]
    pub interval: Duration,
    /// Whether they are only counted.
    pub dryrun: bool,
}

impl Default for UploadPurging {
    fn default() -> Self {
        Self { enabled: true, age: Duration::from_hours(168), interval: Duration::from_hours(24), dryrun: false }
    }
}

/// `storage.maintenance.gc`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GarbageCollection {
    /// Whether the serving processes do it, one of them at a time.
    pub enabled: bool,
    /// The interval between rounds, from 10 minutes on.
    #[serde(with = "durations")]
    pub interval: Duration,
    /// Whether rounds only tell what would go.
    pub dryrun: bool,
    /// How long after its discovery something goes at the earliest. By default a day, or the least that is allowed if
    /// that is more: see [`Redirect::least_delay`].
    #[serde(with = "durations::optional")]
    pub delay: Option<Duration>,
}

impl Default for GarbageCollection {
    fn default() -> Self {
        Self { enabled: false, interval: Duration::from_hours(24), dryrun: false, delay: None }
    }
}

impl Storage {
    /// `storage.maintenance.gc.delay`
    #[must_use]
    pub fn deletion_delay(&self) -> Duration {
        let least = self.redirect.least_delay().max(Duration::from_hours(24));
        self.maintenance.gc.delay.unwrap_or(least)
    }
}

impl Redirect {
    /// The least time between the discovery of garbage and its deletion: replicas believe for 10 minutes that a blob is
    /// there, and their clients may begin to use a URL until it expires; an hour more is for the end of downloads.
    #[must_use]
    pub fn least_delay(&self) -> Duration {
        self.expiry + Duration::from_mins(70)
    }
}

/// `storage.maintenance.readonly`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOnly {
    /// Whether pushes and deletes are refused.
    pub enabled: bool,
}

/// The kind of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// `storage.s3`
    S3,
    /// `storage.filesystem`
    #[default]
    Filesystem,
}

/// `storage.s3`
#[expect(clippy::struct_excessive_bools, reason = "the schema is distribution's")]
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The bucket's name.
    pub bucket: Option<String>,
    /// The access key; by default the credentials of the AWS SDKs' default chain.
    pub accesskey: Option<String>,
    /// The access key's secret.
    pub secretkey: Option<Secret>,
    /// The region; `auto` at Tigris.
    pub region: Option<String>,
    /// The endpoint, with or without a scheme; by default AWS in that region.
    pub regionendpoint: Option<String>,
    /// Whether the bucket is in the path instead of the host name.
    pub forcepathstyle: bool,
    /// Whether an endpoint without a scheme uses `https`.
    pub secure: bool,
    /// Whether the store encrypts objects at rest.
    pub encrypt: bool,
    /// The KMS key for that; by default AES256.
    pub keyid: Option<String>,
    /// The size of an upload's parts in bytes, 5 MiB to 5 GiB (S3's limits); it grows with the blob.
    pub chunksize: u64,
    /// The prefix of all keys.
    pub rootdirectory: String,
    /// The storage class of new objects.
    pub storageclass: Option<String>,
    /// The canned ACL of new objects.
    pub objectacl: Option<String>,
    /// Replaces the bucket's scheme and host in redirects.
    pub redirectendpoint: Option<WebUrl>,
    /// Whether to use AWS's dual-stack endpoints.
    pub usedualstack: bool,
    /// Whether to use AWS's FIPS endpoints.
    pub usefipsendpoint: bool,
    /// Whether to use AWS's transfer acceleration.
    pub accelerate: bool,
    /// The largest object in bytes, 0 to 5 GiB (S3's limit), that is copied inside the bucket in one request.
    pub multipartcopythresholdsize: u64,
    /// The size of a larger copy's parts in bytes, 5 MiB to 5 GiB; it grows with the object.
    pub multipartcopychunksize: u64,
    /// How many parts are copied in parallel.
    pub multipartcopymaxconcurrency: usize,
    /// Whether the bucket is at Tigris, which renames objects, and whose regions are eventually consistent. By default
    /// the endpoint's name decides.
    pub tigris: Option<bool>,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: None,
            accesskey: None,
            secretkey: None,
            region: None,
            regionendpoint: None,
            forcepathstyle: false,
            secure: true,
            encrypt: false,
            keyid: None,
            chunksize: 10 << 20,
            rootdirectory: String::new(),
            storageclass: None,
            objectacl: None,
            redirectendpoint: None,
            usedualstack: false,
            usefipsendpoint: false,
            accelerate: false,
            multipartcopythresholdsize: 32 << 20,
            multipartcopychunksize: 32 << 20,
            multipartcopymaxconcurrency: 100,
            tigris: None,
        }
    }
}

/// `storage.filesystem`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filesystem {
    /// The folder; pounce creates it if it is missing.
    pub rootdirectory: PathBuf,
}

impl Default for Filesystem {
    fn default() -> Self {
        Self { rootdirectory: "./data".into() }
    }
}

/// `storage.redirect`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// Whether blobs are streamed through pounce instead.
    pub disable: bool,
    /// The lifetime of a presigned URL: 1 minute, so that clients can follow a redirect, to 7 days (Signature V4's
    /// limit). pounce uses a URL for less than half of that.
    #[serde(with = "durations")]
    pub expiry: Duration,
    /// The age from which a blob in the bucket is redirected to; a younger one is streamed. By default 10 seconds if
    /// the bucket is eventually consistent (Tigris), else none.
    #[serde(with = "durations::optional")]
    pub minage: Option<Duration>,
    /// Networks of clients that cannot reach the bucket, to which blobs are streamed.
    #[serde(deserialize_with = "lists::list")]
    pub exclude: Vec<IpNet>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { disable: false, expiry: Duration::from_mins(20), minage: None, exclude: Vec::new() }
    }
}
