//! From the configuration to a bucket that answers.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use tokio::sync::OnceCell;

use super::handle::{Inner, Store};
use crate::config::{Driver, S3, Storage};
use crate::store::connect_error::ConnectError;
use crate::store::credentials::default_credentials;
use crate::store::embedded::Embedded;
use crate::store::error::{self, StoreError};
use crate::store::lack::Lack;
use crate::store::leader::{AskLeader, RecentWrites};
use crate::store::location::Location;
use crate::store::options::{CopyOptions, PresignOptions, PutOptions};
use crate::store::response_monitor::{Observer, ResponseMonitor};
use crate::store::sdk_config::{base, bulk_timeouts, small_timeouts};
use crate::store::url_template::UrlTemplates;

/// How long an eventually consistent bucket needs, with a margin, until every region has an object: Tigris says about a
/// second for 99 of 100.
const REPLICATION_DELAY: Duration = Duration::from_secs(10);

/// How wrong this machine's clock may be without a warning.
const NOTABLE_SKEW: Duration = Duration::from_mins(5);

/// How long a process that is ending may keep its folder from the next one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

impl Store {
    /// Connects to the configured bucket and asks whether it is there.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(storage: &Storage) -> Result<Self, ConnectError> {
        match storage.driver {
            Driver::S3 => Self::connect_s3(storage).await,
            Driver::Filesystem => Ok(Self::open_folder(storage, LOCK_TIMEOUT)?),
        }
    }

    /// [`connect`](Self::connect), for a process beside one that serves: a folder belongs to that one, and is used
    /// through the S3 that it serves at `addr`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_beside(storage: &Storage, addr: &str) -> Result<Self, ConnectError> {
        if storage.driver == Driver::S3 {
            return Self::connect_s3(storage).await;
        }
        match Self::open_folder(storage, Duration::ZERO) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
            other => return Ok(other?),
        }
        let root = &storage.filesystem.rootdirectory;
        let endpoint = format!("http://{addr}");
        let credentials = Embedded::credentials_of(root)?;
        let config = base()
            .force_path_style(true)
            .region(Region::from_static("auto"))
            .endpoint_url(&endpoint)
            .credentials_provider(credentials)
            .build();
        let mut storage = storage.clone();
        storage.s3 = S3::default();
        let presign = PresignOptions::for_callers_host(&storage.redirect);
        let store = Self::assemble(&config, Embedded::BUCKET, &storage, presign, None);
        store.check_bucket(endpoint).await.map_err(|_| {
            let message = format!("another pounce uses {}, and does not answer at http.addr, {addr}", root.display());
            io::Error::new(ErrorKind::ResourceBusy, message).into()
        })
    }

    async fn connect_s3(storage: &Storage) -> Result<Self, ConnectError> {
        let s3 = &storage.s3;
        let bucket = s3.bucket.as_deref().unwrap_or_default();
        let credentials = match (&s3.accesskey, &s3.secretkey) {
            (Some(id), Some(secret)) => {
                let keys = Credentials::new(id, secret.reveal(), None, None, "configuration");
                SharedCredentialsProvider::new(keys)
            }
            _ => default_credentials(bucket).await?,
        };
        let endpoint = s3.regionendpoint.as_ref().map(|text| with_scheme(text, s3.secure));
        let mut builder = base()
            .force_path_style(s3.forcepathstyle)
            .credentials_provider(credentials)
            .region(Region::new(s3.region.clone().unwrap_or_else(|| "auto".into())));
        builder.set_endpoint_url(endpoint.clone());
        // Unless they are demanded, the SDK's own defaults apply.
        builder.set_use_dual_stack(s3.usedualstack.then_some(true));
        builder.set_use_fips(s3.usefipsendpoint.then_some(true));
        builder.set_accelerate(s3.accelerate.then_some(true));
        let presign = PresignOptions::for_bucket(&storage.redirect, s3);
        let store = Self::assemble(&builder.build(), bucket, storage, presign, None);
        store.check_bucket(endpoint.unwrap_or_else(|| "AWS".into())).await
    }

    fn open_folder(storage: &Storage, lock_timeout: Duration) -> io::Result<Self> {
        let embedded = Embedded::open(&storage.filesystem.rootdirectory, lock_timeout)?;
        let config = base()
            .force_path_style(true)
            .region(Region::from_static("auto"))
            .endpoint_url("http://localhost")
            .credentials_provider(embedded.credentials())
            .http_client(embedded.http_client())
            .build();
        let presign = PresignOptions::for_callers_host(&storage.redirect);
        Ok(Self::assemble(&config, Embedded::BUCKET, storage, presign, Some(embedded)))
    }

    /// Asks `endpoint` for the bucket.
    async fn check_bucket(self, endpoint: String) -> Result<Self, ConnectError> {
        let bucket = self.inner.bucket.clone();
        let response = Box::pin(self.inner.client.head_bucket().bucket(&bucket).send()).await;
        let other_region = response.as_ref().err().and_then(error::other_region);
        match error::found("HeadBucket", response) {
            Ok(Some(_)) => {
                let ahead = self.inner.monitor.seconds_ahead();
                if ahead.unsigned_abs() >= NOTABLE_SKEW.as_secs() {
                    let clocks = error::describe_clock(Some(ahead));
                    tracing::warn!(
                        "{clocks}: the bucket may refuse the URLs that clients are sent to; set the clock, by NTP"
                    );
                }
                Ok(self)
            }
            Ok(None) => Err(ConnectError::NoBucket { bucket, endpoint }),
            Err(StoreError::Clock { ahead, .. }) => Err(ConnectError::Clock { bucket, endpoint, ahead }),
            Err(cause) => Err(match (other_region, cause) {
                (Some(other), _) => ConnectError::Region { bucket, endpoint, region: self.region(), told: other.told },
                (None, cause @ StoreError::Denied { .. }) => ConnectError::Denied { bucket, endpoint, cause },
                (None, cause) => ConnectError::Unavailable { bucket, endpoint, cause },
            }),
        }
    }

    /// The region that requests are signed for.
    fn region(&self) -> String {
        let region = self.inner.client.config().region();
        region.map_or_else(String::new, ToString::to_string)
    }

    fn assemble(
        config: &aws_sdk_s3::Config,
        bucket: &str,
        storage: &Storage,
        presign: PresignOptions,
        embedded: Option<Embedded>,
    ) -> Self {
        let (s3, is_folder) = (&storage.s3, embedded.is_some());
        let endpoint = s3.regionendpoint.as_deref().unwrap_or_default();
        let is_tigris_endpoint = || ["storage.dev", "tigris.dev"].iter().any(|host| endpoint.contains(host));
        let is_tigris = !is_folder && s3.tigris.unwrap_or_else(is_tigris_endpoint);
        let monitor = ResponseMonitor::new(is_folder);
        let client = |timeouts| {
            let mut config = config.to_builder().timeout_config(timeouts).interceptor(Observer(monitor.clone()));
            if is_tigris {
                config = config.interceptor(AskLeader);
            }
            aws_sdk_s3::Client::from_conf(config.build())
        };
        // Only of a bucket: the folder's layout is that of distribution's filesystem driver.
        let root = if is_folder { "" } else { s3.rootdirectory.trim_matches('/') };
        let delay = if is_tigris { REPLICATION_DELAY } else { Duration::ZERO };
        let location = match &embedded {
            Some(_) => Location::Folder(absolute(&storage.filesystem.rootdirectory)),
            None => Location::Bucket {
                bucket: format!("{bucket}/{}", s3.rootdirectory.trim_matches('/')).trim_end_matches('/').to_owned(),
                endpoint: s3.regionendpoint.as_ref().map_or_else(
                    || format!("AWS, {}", s3.region.as_deref().unwrap_or_default()),
                    |endpoint| with_scheme(endpoint, s3.secure),
                ),
            },
        };
        Self::new(Inner {
            client: client(small_timeouts()),
            bulk: client(bulk_timeouts()),
            bucket: bucket.to_owned(),
            location,
            root: if root.is_empty() { String::new() } else { format!("{root}/") },
            put: if is_folder { PutOptions::default() } else { PutOptions::new(s3) },
            copy: CopyOptions::new(s3),
            presign,
            url_templates: UrlTemplates::default(),
            part_size: s3.chunksize,
            redirect_min_age: storage.redirect.minage.unwrap_or(delay),
            monitor: monitor.clone(),
            eventually_consistent: is_tigris,
            recent_writes: RecentWrites::new(is_tigris),
            conditions: OnceCell::new(),
            lacks_part_copies: Lack::default(),
            lacks_batch_deletes: Lack::default(),
            renames: is_tigris || is_folder,
            embedded,
        })
    }
}

/// The folder from the root on; as it is written, where the process has no working directory.
fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

fn with_scheme(endpoint: &str, secure: bool) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false if secure => format!("https://{endpoint}"),
        false => format!("http://{endpoint}"),
    }
}
