//! Where blobs and manifests are kept, and what keeps them in order.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::hosts::WebUrl;
use super::values::{self, Secret};
use super::{durations, lists};

/// `storage`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Which of the two below is used. Not a key: naming `s3` or a bucket decides.
    #[serde(skip)]
    pub driver: Driver,
    /// A bucket at Tigris, or any S3.
    pub s3: S3,
    /// A folder, served by an S3 server inside pounce.
    pub filesystem: Filesystem,
    /// How blob GETs are answered.
    pub redirect: Redirect,
    /// Whether content can be deleted.
    pub delete: Delete,
    /// What keeps the bucket in order.
    pub maintenance: Maintenance,
}

/// `storage.delete`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delete {
    /// Tags, manifests and blobs can be deleted.
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
    /// What becomes of uploads that nobody ends.
    pub uploadpurging: UploadPurging,
    /// Whether anything can be written.
    pub readonly: ReadOnly,
}

/// `storage.maintenance.uploadpurging`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadPurging {
    /// Abandoned uploads are deleted.
    pub enabled: bool,
    /// How old an upload is when it counts as abandoned.
    #[serde(with = "durations::duration")]
    pub age: Duration,
    /// How often they are looked for.
    #[serde(with = "durations::duration")]
    pub interval: Duration,
    /// They are only counted.
    pub dryrun: bool,
}

impl Default for UploadPurging {
    fn default() -> Self {
        Self { enabled: true, age: Duration::from_hours(168), interval: Duration::from_hours(24), dryrun: false }
    }
}

/// `storage.maintenance.readonly`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOnly {
    /// Nothing can be pushed or deleted.
    pub enabled: bool,
}

/// Where the bucket is.
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
    /// The access key; without one, the default chain of the AWS SDKs.
    pub accesskey: Option<String>,
    /// Its secret.
    pub secretkey: Option<Secret>,
    /// The region; `auto` at Tigris.
    pub region: Option<String>,
    /// The endpoint, with or without a scheme; without one, AWS in that region.
    pub regionendpoint: Option<String>,
    /// The bucket stands in the path instead of the host name.
    pub forcepathstyle: bool,
    /// `https` for an endpoint without a scheme.
    pub secure: bool,
    /// Objects are encrypted at rest by the store.
    pub encrypt: bool,
    /// The KMS key for that; without one, AES256.
    pub keyid: Option<String>,
    /// The size of an upload's parts in bytes, at least 5 MiB; grows with the blob.
    #[serde(deserialize_with = "values::chunk_size")]
    pub chunksize: u64,
    /// All keys begin with it.
    pub rootdirectory: String,
    /// The storage class of new objects.
    pub storageclass: Option<String>,
    /// The canned ACL of new objects.
    pub objectacl: Option<String>,
    /// Stands in for the bucket's own scheme and host in the URLs that clients are sent to.
    pub redirectendpoint: Option<WebUrl>,
    /// AWS's dual-stack endpoints.
    pub usedualstack: bool,
    /// AWS's endpoints with FIPS 140.
    pub usefipsendpoint: bool,
    /// AWS's transfer acceleration.
    pub accelerate: bool,
    /// Objects over so many bytes, at most 5 GiB, are copied inside the bucket in parts.
    #[serde(deserialize_with = "values::copy_threshold")]
    pub multipartcopythresholdsize: u64,
    /// The size of these parts in bytes; grows with the object.
    #[serde(deserialize_with = "values::chunk_size")]
    pub multipartcopychunksize: u64,
    /// How many of these parts are copied at once.
    pub multipartcopymaxconcurrency: usize,
    /// The bucket is at Tigris: it renames objects, and may lag behind other regions. Without it, the endpoint's name
    /// tells.
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
    /// The folder; it is made when it is missing.
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
    /// Blobs are streamed through pounce instead.
    pub disable: bool,
    /// How long a presigned URL lives: 1 minute to 7 days. It is handed out for less than half of that.
    #[serde(with = "durations::redirect_expiry")]
    pub expiry: Duration,
    /// How old a blob in the bucket must be before clients are redirected to it; until then it is streamed. Without it,
    /// 10 seconds where the bucket's regions lag behind each other (Tigris), else none.
    #[serde(with = "durations::optional_duration")]
    pub minage: Option<Duration>,
    /// Networks of clients that cannot reach the bucket: blobs are streamed to them.
    #[serde(deserialize_with = "lists::list")]
    pub exclude: Vec<IpNet>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { disable: false, expiry: Duration::from_mins(20), minage: None, exclude: Vec::new() }
    }
}
