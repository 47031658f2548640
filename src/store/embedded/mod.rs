//! The bucket where no storage is configured: an S3 server inside the process, over a folder.
//!
//! The protocol (signatures, XML, errors) is the `s3s` crate's; pounce uses it through the same SDK as any other S3,
//! and clients through presigned URLs on pounce's own listener. [`folder`] has the layout of the folder: an object's
//! path is its key, as in the folder of distribution's filesystem driver. `s3s-fs` is no alternative: it keeps a side
//! file for each object, named by the whole key in base64, so that repository names over some 30 characters do not fit
//! into a file name; and it reads blobs 4 KiB at a time.

mod adopt;
mod connector;
mod copy;
mod delete;
mod faults;
mod folder;
mod key_pair;
mod list_uploads;
mod listing;
mod server;
mod uploads;

use std::io;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, SharedHttpClient};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RANGE};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

use folder::Folder;
use key_pair::KeyPair;

/// The file of the server's key pair.
const KEY_PAIR: &str = "credentials.json";

/// The server, cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedded {
    service: S3Service,
    /// What `service` is over.
    folder: Folder,
    keys: KeyPair,
}

impl Embedded {
    /// The only bucket. Its name is the first path component of every S3 request.
    pub const BUCKET: &str = folder::BUCKET;

    /// Waits for another process to leave the folder, for at most `lock_timeout`.
    pub(super) fn open(root: &Path, lock_timeout: Duration) -> io::Result<Self> {
        let describe = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
        let folder = Folder::open(root, lock_timeout).map_err(describe)?;
        uploads::remove_broken(&folder).map_err(describe)?;
        let keys = KeyPair::load(&folder.state().join(KEY_PAIR)).map_err(describe)?;
        let mut builder = S3ServiceBuilder::new(folder.clone());
        builder.set_auth(SimpleAuth::from_single(keys.accesskey.clone(), keys.secretkey.clone()));
        Ok(Self { service: builder.build(), folder, keys })
    }

    /// Answers an S3 request that came in through the listener.
    ///
    /// # Errors
    /// The server itself failed; S3 errors are responses.
    pub async fn call<B>(&self, mut request: http::Request<B>) -> Result<http::Response<s3s::Body>, s3s::HttpError>
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
    {
        drop_unusual_range(request.headers_mut());
        self.service.call(request.map(s3s::Body::http_body_unsync)).await
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.keys.credentials()
    }

    /// The credentials for the server that has this folder.
    pub(super) fn credentials_of(root: &Path) -> io::Result<Credentials> {
        let keys = KeyPair::load(&Folder::state_of(root).join(KEY_PAIR))?;
        Ok(keys.credentials())
    }

    pub(super) fn http_client(&self) -> SharedHttpClient {
        connector::to(self.service.clone())
    }
}

/// S3 answers a `Range` that it does not understand, and one of several ranges, with the whole object; the crate
/// answers with a 400. A presigned URL does not sign the header.
fn drop_unusual_range(headers: &mut HeaderMap) {
    let mut values = headers.get_all(RANGE).iter();
    let is_supported = |value: &HeaderValue| {
        // The crate takes a suffix without a length for one of no bytes.
        let text = value.to_str().unwrap_or_default();
        text != "bytes=-" && s3s::dto::Range::parse(text).is_ok()
    };
    let is_one = values.next().is_some_and(is_supported) && values.next().is_none();
    if !is_one {
        headers.remove(RANGE);
    }
}
