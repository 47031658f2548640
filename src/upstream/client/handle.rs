//! The handle of an upstream.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use url::Url;

use crate::config::{NameGrammar, Remote, UpstreamClient, UpstreamHost};
use crate::oci::{Reference, RepositoryName, Tag};
use crate::telemetry::{Health, Metrics, UpstreamCall, UpstreamMetrics};
use crate::upstream::credentials::CredentialSource;
use crate::upstream::error::UpstreamError;
use crate::upstream::head_support::HeadSupport;
use crate::upstream::images::Images;
use crate::upstream::names::RemoteNames;
use crate::upstream::request::Request;
use crate::upstream::session::{Session, host};

/// How long a manifest or a list may take in all. Blobs have no limit.
pub(super) const SMALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a HEAD may take in all, which leaves time for the GET that follows one without a response.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest page of a list that is read, in bytes.
pub(super) const MAX_PAGE: usize = 4 << 20;

/// A registry to pull from.
#[derive(Debug)]
pub struct Upstream {
    pub(super) session: Session,
    names: RemoteNames,
    images: Images,
    /// `proxy.upstreams[].client` is Ollama.
    is_for_ollama: bool,
    /// It answers `/v2/` as registries do. registry.ollama.ai does not.
    pub(super) answers_ping: bool,
    /// How long it may be silent before a blob's headers, including redirects and tokens, and between two pieces of it.
    pub(super) stall_timeout: Duration,
    pub(super) manifest_heads: HeadSupport,
    pub(super) blob_heads: HeadSupport,
}

impl Upstream {
    /// A configured upstream. The names of its repositories begin with `component`, if there is one; it may be silent
    /// for `stall_timeout` while it sends a blob.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub(in crate::upstream) fn new(
        remote: &Remote,
        component: Option<String>,
        stall_timeout: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let invalid = |error: url::ParseError| UpstreamError::Invalid(error.to_string());
        let mut base = match (&remote.remoteurl, &remote.host) {
            (Some(url), _) => url.base().clone(),
            (None, host) => {
                let host = host.as_ref().map_or("", UpstreamHost::as_str);
                Url::parse(&format!("https://{host}")).map_err(invalid)?
            }
        };
        let is_docker_hub = base.host_str().is_some_and(|host| UpstreamHost::DOCKER_HUB.contains(&host));
        if is_docker_hub {
            // Its public names are those of a web site.
            base.set_host(Some("registry-1.docker.io")).map_err(invalid)?;
        }
        let is_for_ollama = remote.client == Some(UpstreamClient::Ollama);
        let answers_ping = !is_for_ollama && base.host_str() != Some("registry.ollama.ai");
        let credentials = CredentialSource::all(remote, host(&base));
        let prefix = remote.remoteurl.as_ref().and_then(|url| url.prefix()).map(ToOwned::to_owned);
        let root = base.as_str().trim_end_matches('/');
        let label = prefix.as_ref().map_or_else(|| root.to_owned(), |prefix| format!("{root}/v2/{prefix}"));
        let is_relaxed = remote.names == NameGrammar::Relaxed;
        let names = RemoteNames { prefix, component, is_docker_hub, is_relaxed };
        Ok(Self {
            images: Images::new(remote, names.has_official()),
            names,
            session: Session::new(label, base, credentials, metrics)?,
            is_for_ollama,
            answers_ping,
            stall_timeout,
            manifest_heads: HeadSupport::default(),
            blob_heads: HeadSupport::default(),
        })
    }

    /// The upstream in the log, in the metadata of what came from it, and in the keys of its fills: its address, with the
    /// prefix of its repositories. Equal for all spellings of one address: without a default port, in lower case, and
    /// with the host of Docker Hub's API for its other names.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.session.label
    }

    /// How it answers.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.session.health
    }

    /// Its metrics, by its host.
    #[must_use]
    pub fn metrics(&self) -> &UpstreamMetrics {
        &self.session.accounts.first().counts
    }

    /// Whether the log should warn that a request for this content failed so and is sent again: once a minute for each
    /// content and error.
    #[must_use]
    pub fn warns_of_retry(&self, content: &str, error: &UpstreamError) -> bool {
        self.session.warns_of_retry(content, error)
    }

    /// Whether only Ollama uses it.
    #[must_use]
    pub const fn is_for_ollama(&self) -> bool {
        self.is_for_ollama
    }

    /// The name of a repository in full: of Docker Hub's official ones, with `library/`.
    #[must_use]
    pub fn full_name(&self, name: &RepositoryName) -> RepositoryName {
        self.names.full(name)
    }

    /// Whether a tag that is stored is compared with the upstream's: not if it is immutable, or may not come in.
    #[must_use]
    pub fn follows(&self, name: &RepositoryName, tag: &Tag) -> bool {
        self.admits(name, Some(tag)) && !self.fixes(name, tag)
    }

    /// Whether a tag stays what it is once it is stored.
    pub(in crate::upstream) fn fixes(&self, name: &RepositoryName, tag: &Tag) -> bool {
        self.images.fix(self.names.own(&self.full_name(name)), tag)
    }

    /// Whether content of a repository may come in, by this tag or by a digest.
    fn admits(&self, name: &RepositoryName, tag: Option<&Tag>) -> bool {
        self.images.admit(self.names.own(&self.full_name(name)), tag)
    }

    /// A request for a manifest.
    pub(super) fn manifest_request(
        &self,
        call: UpstreamCall,
        method: Method,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Request, UpstreamError> {
        if matches!(reference, Reference::Tag(tag) if !self.admits(name, Some(tag))) {
            return Err(UpstreamError::NotAdmitted);
        }
        self.request(call, method, name, &format!("manifests/{reference}"))
    }

    /// A request for something of a repository.
    pub(super) fn request(
        &self,
        call: UpstreamCall,
        method: Method,
        name: &RepositoryName,
        path: &str,
    ) -> Result<Request, UpstreamError> {
        if !self.admits(name, None) {
            return Err(UpstreamError::NotAdmitted);
        }
        let name = self.names.remote(name);
        let url = self.session.url(&format!("/v2/{name}/{path}"))?;
        Ok(Request::new(call, method, url, format!("repository:{name}:pull")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_address_are_one_upstream() {
        let label = |url: &str| {
            let remote = Remote { remoteurl: Some(url.parse().unwrap()), ..Remote::default() };
            let upstream = Upstream::new(&remote, None, SMALL_TIMEOUT, &Arc::default()).unwrap();
            upstream.label().to_owned()
        };
        let hosted = |host: &str| {
            let remote = Remote { host: Some(host.parse().unwrap()), ..Remote::default() };
            Upstream::new(&remote, None, SMALL_TIMEOUT, &Arc::default()).unwrap().label().to_owned()
        };
        let hub = "https://registry-1.docker.io";
        for url in [hub, "https://registry-1.docker.io:443/", "HTTPS://Index.Docker.IO", "https://docker.io"] {
            assert_eq!(label(url), hub);
        }
        assert_eq!(hosted("docker.io"), hub);
        assert_eq!([label("https://GHCR.io:443/"), hosted("ghcr.io:443")], ["https://ghcr.io", "https://ghcr.io"]);
        assert_eq!(label("http://Registry.internal:80"), "http://registry.internal");
        // What may be another registry.
        for other in ["http://ghcr.io", "https://ghcr.io:5000", "https://ghcr.io/a", "https://ghcr.io./"] {
            assert_ne!(label(other), "https://ghcr.io");
        }
    }
}
