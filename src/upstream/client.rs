//! What pounce asks an upstream for: manifests, and the sizes of blobs.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::blob::is_html;
use super::credentials::Source;
use super::error::UpstreamError;
use super::heads::Heads;
use super::session::{Ask, Session, read_limited};
use crate::config::{Remote, UpstreamHost};
use crate::oci::{
    Digest, LargeMemory, MAX_MANIFEST_BYTES, Manifest, ManifestError, MediaType, Reference, RepositoryName,
};
use crate::telemetry::{Metrics, UpstreamCall};

/// How long a manifest or a list of tags may take in all. Blobs may take as long as they like.
pub(super) const SMALL: Duration = Duration::from_secs(30);
/// How long a HEAD may take in all: the GET that follows one without an answer has to fit, too.
const HEAD: Duration = Duration::from_secs(10);
/// The largest page of a list that is read, in bytes.
pub(super) const MAX_PAGE: usize = 4 << 20;

/// A registry to pull from.
#[derive(Debug)]
pub struct Upstream {
    pub(super) session: Session,
    label: String,
    /// What stands before the names of its repositories there.
    prefix: Option<String>,
    /// Docker Hub keeps its official repositories under `library/`, and its clients leave that out.
    is_docker_hub: bool,
    /// What stands before the names of its repositories here.
    component: Option<String>,
    /// How long it may be silent before a blob's headers, with all that has to come before them, and between two pieces
    /// of it.
    pub(super) stall: Duration,
    manifest_heads: Heads,
    blob_heads: Heads,
}

/// What a HEAD for a manifest tells, or what a GET does where HEAD is of no use.
#[derive(Clone, Debug)]
pub struct ManifestHead {
    /// Not every registry says it.
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
    /// A configured upstream. The names of its repositories begin with `component`, if there is one; it may be silent
    /// for `stall` while it sends a blob.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub(super) fn new(
        remote: &Remote,
        component: Option<String>,
        stall: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let mut base = match (&remote.remoteurl, &remote.host) {
            (Some(url), _) => url.base().clone(),
            (None, host) => {
                let host = host.as_ref().map_or("", UpstreamHost::as_str);
                Url::parse(&format!("https://{host}")).map_err(|error| UpstreamError::Invalid(error.to_string()))?
            }
        };
        let is_docker_hub = base.host_str().is_some_and(|host| UpstreamHost::DOCKER_HUB.contains(&host));
        if is_docker_hub {
            // The names that people know answer with a web site.
            base.set_host(Some("registry-1.docker.io")).map_err(|error| UpstreamError::Invalid(error.to_string()))?;
        }
        let credentials = Source::new(remote, host(&base));
        let prefix = remote.remoteurl.as_ref().and_then(|url| url.prefix());
        let (root, prefix) = (base.as_str().trim_end_matches('/'), prefix.map(ToOwned::to_owned));
        let label = match &prefix {
            Some(prefix) => format!("{root}/v2/{prefix}"),
            None => root.to_owned(),
        };
        Ok(Self {
            label,
            prefix,
            session: Session::new(base, credentials, metrics)?,
            is_docker_hub,
            component,
            stall,
            manifest_heads: Heads::default(),
            blob_heads: Heads::default(),
        })
    }

    /// How the upstream is called in the log, and in the metadata of what came from it: where it is, and which part of
    /// it is meant.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Asks which manifest a reference means, without fetching it where that is possible.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn head_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<ManifestHead, UpstreamError> {
        let mut ask = self.ask(UpstreamCall::HeadManifest, Method::HEAD, name, &format!("manifests/{reference}"))?;
        ask.headers.insert(ACCEPT, accepting(accept));
        let heads = &self.manifest_heads;
        let may_ask = !heads.are_refused();
        let mut has_failed = false;
        if may_ask {
            match within(HEAD, self.session.send(&ask)).await {
                Ok(response) if response.status().is_success() => {
                    heads.worked();
                    let digest = header(&response, "docker-content-digest");
                    return Ok(ManifestHead { digest: digest.and_then(|text| text.parse().ok()) });
                }
                // Some proxies allow, or survive, no other method than GET.
                Ok(_) | Err(UpstreamError::Denied { .. }) => {}
                Err(UpstreamError::Unavailable(_)) => has_failed = true,
                Err(error) => return Err(error),
            }
        }
        // A tag is known here: a HEAD alone does not make it gone.
        let fetched = self.get_manifest(name, reference, accept).await?;
        let digest = fetched.verify(None)?.digest();
        match (may_ask, has_failed) {
            (true, false) => heads.refused(),
            (true, true) => heads.failed(),
            (false, _) => {}
        }
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
        let mut ask = self.ask(UpstreamCall::GetManifest, Method::GET, name, &format!("manifests/{reference}"))?;
        ask.headers.insert(ACCEPT, accepting(accept));
        let fetched = async {
            let response = self.session.send(&ask).await?;
            let media_type = header(&response, CONTENT_TYPE.as_str()).and_then(|text| text.parse().ok());
            let memory = LargeMemory::reserve(response.content_length()).await;
            let no_memory = "there is no memory for so large a manifest";
            let memory = memory.ok_or_else(|| UpstreamError::Unavailable(no_memory.into()))?;
            let bytes = read_limited(response, MAX_MANIFEST_BYTES).await?;
            Ok(UpstreamManifest { media_type, bytes: memory.hold(bytes) })
        };
        within(SMALL, fetched).await
    }

    /// Asks for a blob's size; `None` when the upstream does not tell.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn head_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let ask = self.ask(UpstreamCall::HeadBlob, Method::HEAD, name, &format!("blobs/{digest}"))?;
        let heads = &self.blob_heads;
        let may_ask = !heads.are_refused();
        let mut has_failed = false;
        if may_ask {
            match within(HEAD, self.session.send(&ask)).await {
                Ok(response) if response.status().is_success() && !is_html(&response) => {
                    // Not `content_length()`, which tells the length of the body that a HEAD does not have.
                    let size = header(&response, CONTENT_LENGTH.as_str());
                    if let Some(size) = size.and_then(|text| text.parse().ok()) {
                        heads.worked();
                        return Ok(Some(size));
                    }
                }
                Ok(response) if heads.work() && is_registrys_404(&response) => {
                    return Err(UpstreamError::NotFound);
                }
                // public.ecr.aws demands what no token of its own meets.
                Ok(_) | Err(UpstreamError::Denied { .. }) => {}
                Err(UpstreamError::Unavailable(_)) => has_failed = true,
                Err(error) => return Err(error),
            }
        }
        let size = self.size_by_get(name, digest).await?;
        match (may_ask, has_failed) {
            (true, false) => heads.refused(),
            (true, true) => heads.failed(),
            (false, _) => {}
        }
        Ok(size)
    }

    pub(super) fn ask(
        &self,
        call: UpstreamCall,
        method: Method,
        name: &RepositoryName,
        rest: &str,
    ) -> Result<Ask, UpstreamError> {
        let name = self.remote_name(name);
        let root = self.session.base().as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{root}/v2/{name}/{rest}"))
            .map_err(|error| UpstreamError::Invalid(error.to_string()))?;
        let scope = format!("repository:{name}:pull");
        Ok(Ask { call, method, url, headers: HeaderMap::new(), scope, stays: false })
    }

    /// The name of a repository as clients spell it: Docker Hub's official ones with `library/`.
    #[must_use]
    pub fn full_name(&self, name: &RepositoryName) -> RepositoryName {
        let own = self.own_name(name);
        if !self.is_official(own) {
            return name.clone();
        }
        let component = self.component.as_ref().map(|component| format!("{component}/"));
        let full = format!("{}library/{own}", component.unwrap_or_default());
        // Only a name that is almost too long becomes too long.
        full.parse().unwrap_or_else(|_| name.clone())
    }

    /// The repository's name as the upstream knows it.
    fn remote_name<'a>(&self, name: &'a RepositoryName) -> Cow<'a, str> {
        let own = self.own_name(name);
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{own}").into(),
            None if self.is_official(own) => format!("library/{own}").into(),
            None => own.into(),
        }
    }

    /// Whether it is one of Docker Hub's official repositories, without the `library/`.
    fn is_official(&self, own: &str) -> bool {
        self.is_docker_hub && self.prefix.is_none() && !own.contains('/')
    }

    /// The repository's name there, as clients spell it.
    fn own_name<'a>(&self, name: &'a RepositoryName) -> &'a str {
        let without = |component: &String| name.as_str().strip_prefix(component)?.strip_prefix('/');
        let own = self.component.as_ref().and_then(without);
        own.unwrap_or(name.as_str())
    }
}

/// A HEAD has no body to tell; a registry's has the headers of its errors.
fn is_registrys_404(response: &Response) -> bool {
    let is_json = || {
        let media_type = header(response, CONTENT_TYPE.as_str());
        media_type.is_some_and(|text| text.trim_start().starts_with("application/json"))
    };
    response.status() == StatusCode::NOT_FOUND && is_json()
}

fn host(base: &Url) -> String {
    let port = base.port().map(|port| format!(":{port}"));
    format!("{}{}", base.host_str().unwrap_or_default(), port.unwrap_or_default())
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let late = || UpstreamError::Unavailable(format!("it was silent for {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// The types of manifest that pounce knows, and what the client named besides.
fn accepting(more: &[MediaType]) -> HeaderValue {
    let known = MediaType::MANIFESTS;
    let extra = more.iter().filter(|media_type| !known.contains(media_type));
    let all: Vec<&str> = known.iter().chain(extra).map(MediaType::as_str).collect();
    // A media type is made of visible ASCII.
    HeaderValue::from_str(&all.join(", ")).unwrap_or(HeaderValue::from_static("*/*"))
}

pub(super) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

impl UpstreamManifest {
    /// Verifies it against the digest it was asked for by, if any. Without one, it must look like a manifest where its
    /// type does not say that it is one: a page of something in front of the upstream is JSON at times.
    ///
    /// # Errors
    /// `Unsupported`: it is one of schema 1, asked for by digest. `Invalid`, with what is wrong, otherwise.
    pub fn verify(self, expected: Option<Digest>) -> Result<Manifest, UpstreamError> {
        if expected.is_none() && !Manifest::is_recognizable(&self.bytes, self.media_type.as_ref()) {
            let message = "it is JSON, and no manifest".to_owned();
            return Err(UpstreamError::Invalid(message));
        }
        Manifest::new(self.bytes, self.media_type, expected).map_err(|error| match error {
            ManifestError::Schema1 => UpstreamError::Unsupported(error.to_string()),
            _ => UpstreamError::Invalid(error.to_string()),
        })
    }
}
