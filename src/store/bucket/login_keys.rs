//! What a client's own keys may do in the bucket, found out by requests that they sign.
//!
//! A key reads an object that pounce wrote; it writes the same object on a condition that does not hold; and it deletes
//! an object that is not there. S3 looks at permissions before it looks at objects and conditions, so nothing changes.
//! A store that ignores the condition, or does not know it, writes the same bytes once more.

use std::time::Duration;

use aws_sdk_s3::config::{Builder, Credentials, SharedCredentialsProvider};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use uuid::Uuid;

use super::conditions::NO_ETAG;
use super::handle::Store;
use super::write::Condition;
use crate::oci::MediaType;
use crate::store::error::{Refusal, StoreError, failure, found, refusal, translate};
use crate::store::key::Key;
use crate::store::leader::set_consistent;
use crate::store::response_monitor::OfLogin;
use crate::store::sdk_config::login_attempts;

/// How long all requests for one pair of keys may take.
const TIMEOUT: Duration = Duration::from_secs(12);

/// What the object says, for an operator that finds it.
const TEXT: &[u8] = b"Clients that log in with keys of the bucket read this (auth.bucketkeys of pounce).\n";

const GET: &str = "GetObject";
const PUT: &str = "PutObject";
const DELETE: &str = "DeleteObject";

/// A key pair of a client. The SDK overwrites the secret when it is dropped.
pub struct LoginKeys(Credentials);

/// What keys may do in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRights {
    /// The bucket does not take them: there is none of this id, or it has another secret.
    Unknown,
    /// The bucket refuses to let them read. Some stores say so for unknown keys, too.
    Unreadable,
    /// They read.
    Read {
        /// They also write.
        write: bool,
        /// They also delete.
        delete: bool,
    },
}

impl LoginKeys {
    /// An access key id, and its secret.
    #[must_use]
    pub fn new(id: &str, secret: &str) -> Self {
        Self(Credentials::new(id, secret, None, None, "client"))
    }
}

impl Store {
    /// What keys may do in the bucket; without any, pounce's own.
    ///
    /// # Errors
    /// The bucket does not tell: it did not answer, or lacks the object that keys read, and pounce could not write it.
    pub async fn rights_of(&self, keys: Option<&LoginKeys>) -> Result<KeyRights, StoreError> {
        let found = tokio::time::timeout(TIMEOUT, Box::pin(self.find_rights(keys))).await;
        found.unwrap_or_else(|_| Err(unavailable("the requests with a client's keys take too long")))
    }

    /// Whether the bucket takes keys that were made up, because something before it does not look at signatures.
    ///
    /// # Errors
    /// As [`rights_of`](Self::rights_of).
    pub async fn takes_any_keys(&self) -> Result<bool, StoreError> {
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let keys = LoginKeys::new(&Uuid::new_v4().simple().to_string(), &secret);
        Ok(matches!(self.rights_of(Some(&keys)).await?, KeyRights::Read { .. }))
    }

    /// Writes the object that keys read, unless it is there.
    ///
    /// # Errors
    /// The bucket did not answer, or did not take it.
    pub async fn prepare_logins(&self) -> Result<(), StoreError> {
        if self.exists(Key::Login).await? {
            return Ok(());
        }
        self.put_once(Key::Login, Bytes::from_static(TEXT), &MediaType::OCTET_STREAM).await
    }

    async fn find_rights(&self, keys: Option<&LoginKeys>) -> Result<KeyRights, StoreError> {
        let mut read = self.try_read(keys).await?;
        if read == Read::Absent {
            self.prepare_logins().await?;
            read = self.try_read(keys).await?;
        }
        match read {
            Read::Done => {}
            Read::Refused(rights) => return Ok(rights),
            Read::Absent => return Err(unavailable("the object that clients' keys read is not there")),
        }
        let (write, delete) = tokio::try_join!(self.may_write(keys), self.may_delete(keys))?;
        Ok(KeyRights::Read { write, delete })
    }

    /// Reads the object: at the leader, where the nearest region does not have it.
    async fn try_read(&self, keys: Option<&LoginKeys>) -> Result<Read, StoreError> {
        let path = self.path(&Key::Login);
        match self.read_once(keys, &path, self.must_ask_leader(&path)).await? {
            Read::Absent if self.inner.eventually_consistent => self.read_once(keys, &path, true).await,
            read => Ok(read),
        }
    }

    async fn read_once(&self, keys: Option<&LoginKeys>, path: &str, asks_leader: bool) -> Result<Read, StoreError> {
        let request = self.inner.client.get_object().bucket(&self.inner.bucket).key(path).range("bytes=0-1023");
        let request =
            request.customize().config_override(signed_with(keys)).mutate_request(set_consistent(asks_leader));
        let error = match Box::pin(request.send()).await {
            Ok(object) => {
                // So that the connection can be used again.
                drop(Limited::new(object.body.into_inner(), 1024).collect().await);
                return Ok(Read::Done);
            }
            Err(error) => error,
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        Ok(match translate(GET, &error) {
            None => Read::Absent,
            Some(StoreError::Denied { .. }) if status == Some(401) || is_about_keys(code) => {
                Read::Refused(KeyRights::Unknown)
            }
            Some(StoreError::Denied { .. }) => Read::Refused(KeyRights::Unreadable),
            // Cloudflare R2 looks at the form of an id. pounce's own requests are as good.
            Some(_) if status == Some(400) && is_about_keys(code) => Read::Refused(KeyRights::Unknown),
            Some(error) => return Err(error),
        })
    }

    /// Writes the object on a condition that does not hold.
    async fn may_write(&self, keys: Option<&LoginKeys>) -> Result<bool, StoreError> {
        let (path, put) = (self.path(&Key::Login), self.inner.put.short_lived());
        let send = |condition| {
            let request = self.put_request(&self.inner.client, &path, &MediaType::OCTET_STREAM, &put, condition);
            let request = request.body(ByteStream::from_static(TEXT)).customize();
            Box::pin(request.config_override(signed_with(keys)).send())
        };
        let mut answer = send(Condition::IfUnchanged(NO_ETAG)).await;
        match answer.as_ref().err().and_then(refusal) {
            Some(Refusal::Unmet) => return Ok(true),
            Some(Refusal::Unknown) => answer = send(Condition::Always).await,
            None => {}
        }
        match answer.map_err(|error| failure(PUT, &error)) {
            Ok(_) => Ok(true),
            // What takes no writes takes no pushes.
            Err(StoreError::Denied { .. } | StoreError::Full { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object that is not there; with a condition, so that a bucket with versions notes no delete.
    async fn may_delete(&self, keys: Option<&LoginKeys>) -> Result<bool, StoreError> {
        let path = self.path(&Key::NoLogin);
        let send = |etag: Option<&str>| {
            let request = self.inner.client.delete_object().bucket(&self.inner.bucket).key(&path);
            let request = request.set_if_match(etag.map(str::to_owned)).customize();
            Box::pin(request.config_override(signed_with(keys)).send())
        };
        let mut answer = send(Some(NO_ETAG)).await;
        match answer.as_ref().err().and_then(refusal) {
            Some(Refusal::Unmet) => return Ok(true),
            Some(Refusal::Unknown) => answer = send(None).await,
            None => {}
        }
        match found(DELETE, answer) {
            Ok(_) => Ok(true),
            Err(StoreError::Denied { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The outcome of reading the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Done,
    Refused(KeyRights),
    Absent,
}

/// Settings of a request with these keys; without any, with pounce's own.
fn signed_with(keys: Option<&LoginKeys>) -> Builder {
    let mut settings = login_attempts().interceptor(OfLogin);
    settings.set_credentials_provider(keys.map(|keys| SharedCredentialsProvider::new(keys.0.clone())));
    settings
}

/// Whether an error's code says that the keys are wrong.
fn is_about_keys(code: Option<&str>) -> bool {
    const CODES: [&str; 5] = [
        "AuthorizationHeaderMalformed",
        "InvalidAccessKeyId",
        "InvalidArgument",
        "InvalidRequest",
        "SignatureDoesNotMatch",
    ];
    code.is_some_and(|code| CODES.contains(&code))
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { operation: GET, cause: cause.to_owned() }
}
