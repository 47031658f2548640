//! Presigned URLs, by which a client fetches a blob from the bucket itself, for a while.

use aws_sdk_s3::presigning::PresigningConfig;
use url::Url;

use super::handle::Store;
use crate::config::WebUrl;
use crate::oci::Digest;
use crate::store::error::{StoreError, failure};
use crate::store::key::Key;
use crate::store::url_template::PresignedUrl;

impl Store {
    /// A URL for fetching a blob, Range included. `base` is the URL of pounce that the client called.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn presign_blob(&self, digest: &Digest, base: &str) -> Result<PresignedUrl, StoreError> {
        let url = self.presign(Key::Blob(digest), base).await?;
        Ok(self.inner.url_templates.compact(&url, digest))
    }

    /// A URL for fetching an object, Range included. It refuses HEAD: each method has a signature of its own. `base` is
    /// the URL of pounce that the client called.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn presign(&self, key: Key<'_>, base: &str) -> Result<String, StoreError> {
        const OPERATION: &str = "presigning GetObject";
        let unavailable = |cause: String| StoreError::Unavailable { operation: OPERATION, cause };
        let options = &self.inner.presign;
        let config = PresigningConfig::expires_in(options.life).map_err(|error| unavailable(error.to_string()))?;
        let mut request = self.inner.client.get_object().bucket(&self.inner.bucket).key(self.path(&key)).customize();
        if options.callers_host {
            request = request.config_override(aws_sdk_s3::Config::builder().endpoint_url(base.trim_end_matches('/')));
        }
        let signed = Box::pin(request.presigned(config)).await.map_err(|error| failure(OPERATION, &error))?;
        let Some(endpoint) = &options.redirect_endpoint else {
            return Ok(signed.uri().to_owned());
        };
        let signed = Url::parse(signed.uri()).map_err(|error| unavailable(error.to_string()))?;
        Ok(replace_endpoint(&signed, endpoint))
    }
}

/// Replaces a signed URL's scheme, host and leading path. The signature stays valid at Tigris, and at any endpoint that
/// passes the bucket's own host on.
fn replace_endpoint(signed: &Url, endpoint: &WebUrl) -> String {
    let query = signed.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{endpoint}{}{query}", signed.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_replaced_and_nothing_else() {
        let signed = Url::parse("https://bucket.t3.storage.dev/a/b%20c?X-Amz-Date=1&X-Amz-Signature=2").unwrap();
        let replaced = |text: &str| replace_endpoint(&signed, &text.parse().unwrap());
        assert_eq!(
            replaced("https://blobs.example.com"),
            "https://blobs.example.com/a/b%20c?X-Amz-Date=1&X-Amz-Signature=2"
        );
        assert!(replaced("http://localhost:9000/s3/").starts_with("http://localhost:9000/s3/a/b%20c?"));
    }
}
