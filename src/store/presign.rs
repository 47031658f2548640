//! URLs that let a client fetch a blob from the bucket by itself, for a while.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use url::Url;

use super::error::failure;
use super::presigned::{Frames, Presigned};
use super::{Key, Store, StoreError};
use crate::config::{Redirect, S3, WebUrl};
use crate::oci::Digest;

/// How URLs are made for this bucket.
#[derive(Debug)]
pub(super) struct Presigner {
    life: Duration,
    /// Put in place of the bucket's own scheme and host after signing.
    redirect_endpoint: Option<WebUrl>,
    /// The bucket is behind pounce's own listener: URLs are made for the host the client called.
    callers_host: bool,
    frames: Frames,
}

impl Presigner {
    pub(super) fn for_bucket(redirect: &Redirect, s3: &S3) -> Self {
        Self {
            life: redirect.expiry,
            redirect_endpoint: s3.redirectendpoint.clone(),
            callers_host: false,
            frames: Frames::default(),
        }
    }

    pub(super) fn for_callers_host(redirect: &Redirect) -> Self {
        Self { life: redirect.expiry, redirect_endpoint: None, callers_host: true, frames: Frames::default() }
    }
}

impl Store {
    /// Whether URLs differ by the host that the client called.
    #[must_use]
    pub fn presigns_for_callers_host(&self) -> bool {
        self.inner.presign.callers_host
    }

    /// A URL for fetching a blob, Range included. `base` is how the client reached pounce.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn presign_blob(&self, digest: &Digest, base: &Url) -> Result<Presigned, StoreError> {
        let url = self.presign(Key::Blob(digest), base).await?;
        Ok(self.inner.presign.frames.keep(&url, digest))
    }

    /// A URL for fetching an object, Range included. It refuses HEAD: each method has a signature of its own. `base` is
    /// how the client reached pounce.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn presign(&self, key: Key<'_>, base: &Url) -> Result<String, StoreError> {
        let unavailable = |cause: String| StoreError::Unavailable { operation: "presigning GetObject", cause };
        let presigner = &self.inner.presign;
        let config = PresigningConfig::expires_in(presigner.life).map_err(|error| unavailable(error.to_string()))?;
        let mut request = self.inner.client.get_object().bucket(&self.inner.bucket).key(self.path(&key)).customize();
        if presigner.callers_host {
            request = request
                .config_override(aws_sdk_s3::Config::builder().endpoint_url(base.as_str().trim_end_matches('/')));
        }
        let signed =
            Box::pin(request.presigned(config)).await.map_err(|error| failure("presigning GetObject", &error))?;
        let Some(front) = &presigner.redirect_endpoint else {
            return Ok(signed.uri().to_owned());
        };
        let signed = Url::parse(signed.uri()).map_err(|error| unavailable(error.to_string()))?;
        Ok(replace_front(&signed, front))
    }
}

/// Puts another scheme, host and leading path before a signed URL's path and query. At Tigris, and behind any front
/// that passes the bucket's own host on, the signature stays valid.
fn replace_front(signed: &Url, front: &WebUrl) -> String {
    let query = signed.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{front}{}{query}", signed.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_replaced_and_nothing_else() {
        let signed = Url::parse("https://bucket.t3.storage.dev/a/b%20c?X-Amz-Date=1&X-Amz-Signature=2").unwrap();
        let front = |text: &str| replace_front(&signed, &text.parse().unwrap());
        assert_eq!(
            front("https://blobs.example.com"),
            "https://blobs.example.com/a/b%20c?X-Amz-Date=1&X-Amz-Signature=2"
        );
        assert!(front("http://localhost:9000/s3/").starts_with("http://localhost:9000/s3/a/b%20c?"));
    }
}
