//! From the configuration to a bucket that answers.

use std::io::ErrorKind;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::types::ServerSideEncryption;

use tokio::sync::OnceCell;

use super::answers::Answers;
use super::content_length::ContentLength;
use super::credentials::found_credentials;
use super::relocate::CopyOptions;
use super::{Embedded, Inner, PutOptions, Store, StoreError, error, presign::Presigner};
use crate::config::{Driver, S3, Storage};

/// How long a bucket that lags needs, and some more, until each region knows of an object: Tigris says about a second
/// for 99 of 100.
const LAG: Duration = Duration::from_secs(10);

/// How wrong this machine's clock may be without a word.
const NOTABLE_SKEW: Duration = Duration::from_mins(5);

/// How long a process that is about to end may keep a folder from the next one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no bucket to work with, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The bucket does not exist.
    #[error("storage.s3.bucket: there is no bucket {bucket} at {endpoint}")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// There are none.
    #[error(
        "storage.s3.accesskey, storage.s3.secretkey: there are no credentials for the bucket {bucket}; set both, or the \
         variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{}", found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default()
    )]
    NoCredentials {
        /// The bucket's name.
        bucket: String,
        /// What was found in their place: a profile that cannot be read, say.
        found: Option<String>,
    },
    /// What this machine's clock signs is not valid.
    #[error(
        "{}: {endpoint} refuses what it signs for the bucket {bucket}; set the clock, by NTP",
        error::describe_clock(*.ahead)
    )]
    Clock {
        /// The bucket's name.
        bucket: String,
        /// What refused.
        endpoint: String,
        /// How many seconds the bucket's clock is ahead of this machine's, if it tells.
        ahead: Option<i64>,
    },
    /// The bucket is in another region.
    #[error(
        "storage.s3.region: {endpoint} does not take requests for the bucket {bucket} in the region {region}{}",
        told.as_ref().map(|told| format!("; it is in {told}")).unwrap_or_default()
    )]
    Region {
        /// The bucket's name.
        bucket: String,
        /// What refused.
        endpoint: String,
        /// The region that is configured.
        region: String,
        /// The region that the bucket is in, if it tells.
        told: Option<String>,
    },
    /// The credentials were refused.
    #[error(
        "storage.s3.accesskey, storage.s3.secretkey: {endpoint} refuses these credentials for the bucket \
         {bucket} (Tigris gives the same answer when storage.s3.bucket names a bucket that does not exist)"
    )]
    Denied {
        /// The bucket's name.
        bucket: String,
        /// Who refused.
        endpoint: String,
        /// What the SDK says.
        #[source]
        cause: StoreError,
    },
    /// Nobody answers there, or not as an S3 does.
    #[error("storage.s3.regionendpoint: the bucket {bucket} at {endpoint} cannot be used: {cause}")]
    Unavailable {
        /// The bucket's name.
        bucket: String,
        /// Who did not answer.
        endpoint: String,
        /// What the SDK says.
        cause: StoreError,
    },
    /// The folder cannot be used.
    #[error("storage.filesystem.rootdirectory: {0}")]
    Folder(#[from] std::io::Error),
}

impl Store {
    /// Connects to the configured bucket and asks whether it is there.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(storage: &Storage) -> Result<Self, ConnectError> {
        match storage.driver {
            Driver::S3 => Self::connect_s3(storage).await,
            Driver::Filesystem => Ok(Self::open_folder(storage, PATIENCE)?),
        }
    }

    /// As [`connect`](Self::connect), for a process beside one that serves: a folder belongs to that one, and is used
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
        let config = base()
            .force_path_style(true)
            .region(Region::from_static("auto"))
            .endpoint_url(&endpoint)
            .credentials_provider(Embedded::credentials_of(root)?)
            .build();
        let mut storage = storage.clone();
        storage.s3 = S3::default();
        let presign = Presigner::for_callers_host(&storage.redirect);
        let store = Self::assemble(&config, Embedded::BUCKET, &storage, presign, None);
        store.found_at(endpoint).await.map_err(|_| {
            let message = format!("another pounce uses {}, and does not answer at http.addr, {addr}", root.display());
            std::io::Error::new(ErrorKind::ResourceBusy, message).into()
        })
    }

    async fn connect_s3(storage: &Storage) -> Result<Self, ConnectError> {
        let s3 = &storage.s3;
        let mut builder = base().force_path_style(s3.forcepathstyle);
        if let (Some(id), Some(secret)) = (&s3.accesskey, &s3.secretkey) {
            let keys = Credentials::new(id, secret.reveal(), None, None, "configuration");
            builder = builder.credentials_provider(keys);
        } else {
            let found = found_credentials(s3.bucket.as_deref().unwrap_or_default());
            builder = builder.credentials_provider(found.await?);
        }
        builder = builder.region(Region::new(s3.region.clone().unwrap_or_else(|| "auto".into())));
        let endpoint = s3.regionendpoint.as_ref().map(|text| with_scheme(text, s3.secure));
        if let Some(url) = &endpoint {
            builder = builder.endpoint_url(url);
        }
        if s3.usedualstack {
            builder = builder.use_dual_stack(true);
        }
        if s3.usefipsendpoint {
            builder = builder.use_fips(true);
        }
        if s3.accelerate {
            builder = builder.accelerate(true);
        }
        let bucket = s3.bucket.clone().unwrap_or_default();
        let endpoint = endpoint.unwrap_or_else(|| "AWS".into());
        let store =
            Self::assemble(&builder.build(), &bucket, storage, Presigner::for_bucket(&storage.redirect, s3), None);
        store.found_at(endpoint).await
    }

    /// Asks `endpoint` for the bucket.
    async fn found_at(self, endpoint: String) -> Result<Self, ConnectError> {
        let bucket = self.inner.bucket.clone();
        let request = self.inner.client.head_bucket().bucket(&bucket);
        let answer = Box::pin(request.send()).await;
        let elsewhere = answer.as_ref().err().and_then(error::other_region);
        match answer.map_err(|error| error::translate("HeadBucket", &error)) {
            Ok(_) => {
                let ahead = self.inner.answers.seconds_ahead();
                if ahead.unsigned_abs() >= NOTABLE_SKEW.as_secs() {
                    let clocks = error::describe_clock(Some(ahead));
                    tracing::warn!(
                        "{clocks}: the bucket may refuse the URLs that clients are sent to; set the clock, by NTP"
                    );
                }
                Ok(self)
            }
            Err(Some(StoreError::Clock { ahead, .. })) => Err(ConnectError::Clock { bucket, endpoint, ahead }),
            Err(Some(_)) if elsewhere.is_some() => Err(ConnectError::Region {
                bucket,
                endpoint,
                region: self.region(),
                told: elsewhere.and_then(|it| it.told),
            }),
            Err(None) => Err(ConnectError::NoBucket { bucket, endpoint }),
            Err(Some(cause @ StoreError::Denied { .. })) => Err(ConnectError::Denied { bucket, endpoint, cause }),
            Err(Some(cause)) => Err(ConnectError::Unavailable { bucket, endpoint, cause }),
        }
    }

    /// The region that requests are signed for.
    fn region(&self) -> String {
        let region = self.inner.client.config().region();
        region.map_or_else(String::new, ToString::to_string)
    }

    fn open_folder(storage: &Storage, patience: Duration) -> std::io::Result<Self> {
        let embedded = Embedded::open(&storage.filesystem.rootdirectory, patience)?;
        let config = base()
            .force_path_style(true)
            .region(Region::from_static("auto"))
            .endpoint_url("http://localhost")
            .credentials_provider(embedded.credentials())
            .http_client(embedded.http_client())
            .build();
        let presign = Presigner::for_callers_host(&storage.redirect);
        Ok(Self::assemble(&config, Embedded::BUCKET, storage, presign, Some(embedded)))
    }

    fn assemble(
        config: &aws_sdk_s3::Config,
        bucket: &str,
        storage: &Storage,
        presign: Presigner,
        embedded: Option<Embedded>,
    ) -> Self {
        let s3 = &storage.s3;
        let quick = timeouts()
            .operation_attempt_timeout(Duration::from_secs(5))
            .operation_timeout(Duration::from_secs(15))
            .build();
        let bulk = timeouts().read_timeout(Duration::from_mins(2)).build();
        let answers = if embedded.is_some() { Answers::in_doubt() } else { Answers::default() };
        let client = |timeouts| {
            let config = config.to_builder().timeout_config(timeouts);
            aws_sdk_s3::Client::from_conf(config.interceptor(answers.clone()).build())
        };
        // Only a bucket's own root: the folder's layout is that of distribution's filesystem driver.
        let root = if embedded.is_some() { "" } else { s3.rootdirectory.trim_matches('/') };
        let put = if embedded.is_some() { PutOptions::default() } else { put_options(s3) };
        let endpoint = s3.regionendpoint.as_deref().unwrap_or_default();
        let told = || ["storage.dev", "tigris.dev"].iter().any(|host| endpoint.contains(host));
        let is_tigris = embedded.is_none() && s3.tigris.unwrap_or_else(told);
        let lag = if is_tigris { LAG } else { Duration::ZERO };
        Self {
            inner: std::sync::Arc::new(Inner {
                client: client(quick),
                bulk: client(bulk),
                bucket: bucket.to_owned(),
                root: if root.is_empty() { String::new() } else { format!("{root}/") },
                put,
                part_size: s3.chunksize,
                presign,
                lags: is_tigris,
                redirect_min_age: storage.redirect.minage.unwrap_or(lag),
                answers: answers.clone(),
                conditions: OnceCell::new(),
                changed: super::leader::Changed::default(),
                renames: is_tigris || embedded.is_some(),
                copy: CopyOptions {
                    threshold: s3.multipartcopythresholdsize,
                    chunk: s3.multipartcopychunksize,
                    parallel: s3.multipartcopymaxconcurrency.max(1),
                },
                embedded,
            }),
        }
    }
}

/// What every client has in common. Checksums only where S3 demands them: otherwise the SDK sends `aws-chunked` bodies,
/// which Tigris may store as the object's Content-Encoding.
fn base() -> Builder {
    let mut builder = aws_sdk_s3::Config::builder();
    builder.set_http_client(super::proxy::client());
    builder
        .behavior_version(BehaviorVersion::latest())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(ContentLength)
        // Exponential backoff with jitter, for 5xx, SlowDown and broken connections.
        .retry_config(RetryConfig::standard().with_max_attempts(4).with_max_backoff(Duration::from_secs(2)))
}

fn timeouts() -> aws_smithy_types::timeout::TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(Duration::from_secs(3))
}

fn with_scheme(endpoint: &str, secure: bool) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false if secure => format!("https://{endpoint}"),
        false => format!("http://{endpoint}"),
    }
}

fn put_options(s3: &S3) -> PutOptions {
    PutOptions {
        encryption: match &s3.keyid {
            _ if !s3.encrypt => None,
            Some(_) => Some(ServerSideEncryption::AwsKms),
            None => Some(ServerSideEncryption::Aes256),
        },
        kms_key: s3.keyid.clone().filter(|_| s3.encrypt),
        // distribution writes NONE for the bucket's own default.
        storage_class: s3
            .storageclass
            .as_deref()
            .filter(|class| !class.eq_ignore_ascii_case("NONE"))
            // As distribution sends it.
            .map(|class| class.to_ascii_uppercase().as_str().into()),
        acl: s3.objectacl.as_deref().map(Into::into),
    }
}
