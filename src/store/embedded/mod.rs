//! The bucket of those who have none yet: an S3 server inside the process, over a folder.
//!
//! The protocol (signatures, XML, errors) is the `s3s` crate's; pounce uses it through the same SDK as any other S3,
//! and clients through presigned URLs on pounce's own listener. What the folder looks like is [`folder`]'s: `s3s-fs`,
//! which was tried first, keeps a side file for each object that is named by the whole key in base64, so that
//! repository names over some 30 characters do not fit into a file name; it also reads blobs 4 KiB at a time. Here an
//! object's path is its key, which makes the folder the one that distribution's filesystem driver has.

mod connector;
mod copy;
mod faults;
mod folder;
mod listing;
mod pending;
mod server;
mod uploads;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, SharedHttpClient};
use bytes::Bytes;
use http::header::{HeaderMap, RANGE};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use serde::{Deserialize, Serialize};

use folder::Folder;

/// The server, cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedded {
    service: S3Service,
    keys: KeyPair,
}

/// Made at random at the first start, and kept beside the blobs, so that presigned URLs outlive a restart.
#[derive(Clone, Serialize, Deserialize)]
struct KeyPair {
    accesskey: String,
    secretkey: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Embedded {
    /// The only bucket. Its name is the first path component of every S3 request.
    pub const BUCKET: &str = "pounce";

    /// Another process may have the folder for `patience`.
    pub(super) fn open(root: &Path, patience: Duration) -> io::Result<Self> {
        let describe = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
        let folder = Folder::open(root, patience).map_err(describe)?;
        let keys = KeyPair::load(&folder.state().join("credentials.json")).map_err(describe)?;
        let mut builder = S3ServiceBuilder::new(folder);
        builder.set_auth(SimpleAuth::from_single(keys.accesskey.clone(), keys.secretkey.clone()));
        Ok(Self { service: builder.build(), keys })
    }

    /// Answers an S3 request that came in through the listener.
    ///
    /// # Errors
    /// A fault of the server's own; S3 errors are responses.
    pub async fn call<B>(&self, mut request: http::Request<B>) -> Result<http::Response<s3s::Body>, s3s::HttpError>
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
    {
        drop_odd_range(request.headers_mut());
        self.service.call(request.map(s3s::Body::http_body_unsync)).await
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.keys.credentials()
    }

    /// Those of the server that has this folder.
    pub(super) fn credentials_of(root: &Path) -> io::Result<Credentials> {
        let keys = KeyPair::load(&Folder::state_of(root).join("credentials.json"))?;
        Ok(keys.credentials())
    }

    pub(super) fn http_client(&self) -> SharedHttpClient {
        connector::to(self.service.clone())
    }
}

/// S3 answers a `Range` that it does not understand, and one of several ranges, with the whole object; the crate
/// answers with a 400. A presigned URL does not sign the header.
fn drop_odd_range(headers: &mut HeaderMap) {
    let mut values = headers.get_all(RANGE).iter();
    let is_plain = |value: &http::HeaderValue| {
        // The crate takes a suffix without a length for one of no bytes.
        let text = value.to_str().unwrap_or_default();
        text != "bytes=-" && s3s::dto::Range::parse(text).is_ok()
    };
    let is_one = values.next().is_some_and(is_plain) && values.next().is_none();
    if !is_one {
        headers.remove(RANGE);
    }
}

impl KeyPair {
    fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(&self.accesskey, &self.secretkey, None, None, "embedded")
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let keys = Self {
            accesskey: format!("pounce_{}", const_hex::encode(&random[..8])),
            secretkey: const_hex::encode(&random[8..]),
        };
        // A temporary file is the owner's alone, and appears under its name only when it is whole.
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(&keys)?)?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(keys),
            // Another process was first.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(error.error),
        }
    }
}
