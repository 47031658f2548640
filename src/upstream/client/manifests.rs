//! Manifests of an upstream.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::handle::{HEAD_TIMEOUT, SMALL_TIMEOUT, Upstream};
use crate::manifest_memory::ManifestMemory;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, Manifest, ManifestError, MediaType, Reference, RepositoryName};
use crate::telemetry::UpstreamCall;
use crate::upstream::error::UpstreamError;
use crate::upstream::head_support::HeadOutcome;
use crate::upstream::response::{header, read_limited, within};

/// The response to a HEAD for a manifest, or to a GET where HEAD is of no use.
#[derive(Clone, Debug)]
pub struct ManifestHead {
    /// Not every registry tells it.
    pub digest: Option<Digest>,
}

/// A manifest as it came, not yet verified.
#[derive(Clone, Debug)]
pub struct UpstreamManifest {
    /// Its bytes, at most 4 MiB.
    pub bytes: Bytes,
    /// The type that the upstream declares.
    pub media_type: Option<MediaType>,
}

impl Upstream {
    /// Asks for the digest of a manifest, without fetching it where that is possible.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn head_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<ManifestHead, UpstreamError> {
        let mut request = self.manifest_request(UpstreamCall::HeadManifest, Method::HEAD, name, reference)?;
        request.headers.insert(ACCEPT, accepting(accept));
        let mut head = HeadOutcome::Skipped;
        if !self.manifest_heads.is_refused() {
            head = match within(HEAD_TIMEOUT, self.session.send(&request)).await {
                Ok(response) if response.status().is_success() => {
                    self.manifest_heads.worked();
                    let digest = header(&response, "docker-content-digest");
                    return Ok(ManifestHead { digest: digest.and_then(|text| text.parse().ok()) });
                }
                // Some proxies allow, or survive, GET only.
                Ok(_) | Err(UpstreamError::Denied { .. }) => HeadOutcome::Refused,
                Err(UpstreamError::Unavailable(_)) => HeadOutcome::Failed,
                Err(error) => return Err(error),
            };
        }
        // pounce has the tag: a 404 to a HEAD alone does not remove it.
        let fetched = self.get_manifest(name, reference, accept).await?;
        let digest = fetched.verify(None)?.digest();
        self.manifest_heads.get_succeeded_after(head);
        Ok(ManifestHead { digest: Some(digest) })
    }

    /// Fetches a manifest.
    ///
    /// # Errors
    /// See [`UpstreamError`]; a manifest over 4 MiB is `Invalid`.
    pub async fn get_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<UpstreamManifest, UpstreamError> {
        let mut request = self.manifest_request(UpstreamCall::GetManifest, Method::GET, name, reference)?;
        request.headers.insert(ACCEPT, accepting(accept));
        let fetched = async {
            let response = self.session.send(&request).await?;
            let media_type = header(&response, CONTENT_TYPE.as_str()).and_then(|text| text.parse().ok());
            let memory = ManifestMemory::reserve(response.content_length()).await;
            let no_memory = "there is no memory for so large a manifest";
            let memory = memory.ok_or_else(|| UpstreamError::Unavailable(no_memory.into()))?;
            let bytes = read_limited(response, MAX_MANIFEST_BYTES).await?;
            Ok(UpstreamManifest { media_type, bytes: memory.hold(bytes) })
        };
        within(SMALL_TIMEOUT, fetched).await
    }
}

/// The types of manifest that pounce supports, and those that the client names besides.
fn accepting(more: &[MediaType]) -> HeaderValue {
    let supported = MediaType::MANIFESTS;
    let extra = more.iter().filter(|media_type| !supported.contains(media_type));
    let all: Vec<&str> = supported.iter().chain(extra).map(MediaType::as_str).collect();
    // A media type is visible ASCII.
    HeaderValue::from_str(&all.join(", ")).unwrap_or(HeaderValue::from_static("*/*"))
}

impl UpstreamManifest {
    /// Verifies it against the digest by which it was requested, if any. Without one, it must look like a manifest
    /// unless its type says that it is one: a page of a proxy in front of the upstream may be JSON.
    ///
    /// # Errors
    /// `Unsupported`: it is one of schema 1, requested by digest. `Invalid`, with the reason, otherwise.
    pub fn verify(self, expected: Option<Digest>) -> Result<Manifest, UpstreamError> {
        if expected.is_none() && !Manifest::is_recognizable(&self.bytes, self.media_type.as_ref()) {
            return Err(UpstreamError::Invalid("it is JSON, and no manifest".to_owned()));
        }
        Manifest::new(self.bytes, self.media_type, expected).map_err(|error| match error {
            ManifestError::Schema1 => UpstreamError::Unsupported(error.to_string()),
            _ => UpstreamError::Invalid(error.to_string()),
        })
    }
}
