//! How objects are written, copied and presigned, as the configuration says.

use std::time::Duration;

use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};

use crate::config::{Redirect, S3, WebUrl};

/// What every new object gets.
#[derive(Clone, Debug, Default)]
pub(super) struct PutOptions {
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) kms_key: Option<String>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) acl: Option<ObjectCannedAcl>,
}

impl PutOptions {
    pub(super) fn new(s3: &S3) -> Self {
        Self {
            encryption: match &s3.keyid {
                _ if !s3.encrypt => None,
                Some(_) => Some(ServerSideEncryption::AwsKms),
                None => Some(ServerSideEncryption::Aes256),
            },
            kms_key: s3.keyid.clone().filter(|_| s3.encrypt),
            // As distribution: NONE is the bucket's default, and classes are sent in upper case.
            storage_class: s3
                .storageclass
                .as_deref()
                .filter(|class| !class.eq_ignore_ascii_case("NONE"))
                .map(|class| class.to_ascii_uppercase().as_str().into()),
            acl: s3.objectacl.as_deref().map(Into::into),
        }
    }

    /// For an object that is read at once and deleted within minutes: without a storage class, because some must be
    /// restored before they are read, or are billed for months.
    pub(super) fn short_lived(&self) -> Self {
        Self { storage_class: None, ..self.clone() }
    }
}

/// Gives a request that makes an object the [`PutOptions`]. The SDK's requests have no trait in common.
macro_rules! with_put_options {
    ($request:expr, $put:expr) => {
        $request
            .set_server_side_encryption($put.encryption.clone())
            .set_ssekms_key_id($put.kms_key.clone())
            .set_storage_class($put.storage_class.clone())
            .set_acl($put.acl.clone())
    };
}
pub(super) use with_put_options;

/// How objects are copied where the bucket does not rename (`storage.s3.multipartcopy*`).
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyOptions {
    /// In bytes; smaller objects are copied in one request.
    pub(super) threshold: u64,
    /// The size of a part in bytes.
    pub(super) chunk: u64,
    /// How many parts are copied at once.
    pub(super) parallel: usize,
}

impl CopyOptions {
    pub(super) fn new(s3: &S3) -> Self {
        Self {
            threshold: s3.multipartcopythresholdsize,
            chunk: s3.multipartcopychunksize,
            parallel: s3.multipartcopymaxconcurrency.max(1),
        }
    }
}

/// How URLs are presigned (`storage.redirect`).
#[derive(Debug)]
pub(super) struct PresignOptions {
    pub(super) life: Duration,
    /// Replaces the bucket's own scheme and host after signing.
    pub(super) redirect_endpoint: Option<WebUrl>,
    /// The bucket is behind pounce's own listener: URLs are made for the host that the client called.
    pub(super) callers_host: bool,
}

impl PresignOptions {
    pub(super) fn for_bucket(redirect: &Redirect, s3: &S3) -> Self {
        Self { life: redirect.expiry, redirect_endpoint: s3.redirectendpoint.clone(), callers_host: false }
    }

    pub(super) fn for_callers_host(redirect: &Redirect) -> Self {
        Self { life: redirect.expiry, redirect_endpoint: None, callers_host: true }
    }
}
