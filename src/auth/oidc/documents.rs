//! The documents of an issuer: the discovery document (OIDC Discovery 1.0, section 4), and its keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::key_set::KeySet;
use crate::auth::error::AuthError;
use crate::bounded_file;
use crate::config::{OidcProvider, SecureUrl, is_secure};
use crate::upstream::Reach;

/// How long a document may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest discovery document, in bytes.
const MAX_DISCOVERY: usize = 64 << 10;
/// The largest set of keys, in bytes.
const MAX_KEYS: usize = 1 << 20;
/// The largest file of CAs or with a token, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where an issuer's documents are, and how they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Documents {
    issuer: String,
    /// Where the discovery document is; `None` if the configuration names the keys.
    discovery: Option<Url>,
    /// The keys that the configuration names.
    jwks: Option<Url>,
    /// Whether the keys must be at the host of the discovery document, because the operator named that and not the
    /// issuer.
    at_discovery: bool,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
    /// The servers that get the token, by their origins.
    trusted: Vec<url::Origin>,
}

/// What was read.
pub(super) struct Read {
    pub(super) keys: KeySet,
    /// Where the keys are.
    pub(super) jwks: Url,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Documents {
    pub(super) fn new(config: &OidcProvider) -> Self {
        let url = |setting: &Option<SecureUrl>| setting.as_ref().map(|it| it.as_url().clone());
        let issuer = config.issuer.as_ref().map_or("", SecureUrl::as_str);
        let beside = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let jwks = url(&config.jwks);
        let discovery = url(&config.discovery).or_else(|| beside.parse().ok()).filter(|_| jwks.is_none());
        let named = [url(&config.issuer), discovery.clone(), jwks.clone()];
        Self {
            issuer: issuer.to_owned(),
            discovery,
            jwks,
            at_discovery: config.discovery.is_some(),
            ca: config.ca.clone(),
            token: config.tokenfile.clone(),
            trusted: named.iter().flatten().map(Url::origin).collect(),
        }
    }

    /// # Errors
    /// The file of CAs cannot be used.
    pub(super) fn check_ca(&self) -> Result<(), AuthError> {
        let (setting, Some(path)) = ("auth.oidc.ca", &self.ca) else {
            return Ok(());
        };
        let text = bounded_file::read_text(path, MAX_FILE);
        let text = text.map_err(|source| AuthError::Read { setting, path: path.clone(), source })?;
        let any = self.discovery.as_ref().or(self.jwks.as_ref());
        let checked = any.map(|url| Reach::new(url, Some(&text), TIMEOUT)).transpose();
        checked.map(drop).map_err(|message| AuthError::Keys { setting, path: path.clone(), message })
    }

    /// Reads the keys: at `known`, where the discovery document said that they are, or else by that document.
    ///
    /// # Errors
    /// The documents cannot be read or used, and why; with the URL of the one that is at fault.
    pub(super) async fn read(&self, known: Option<Url>) -> Result<Read, String> {
        let jwks = match known.or_else(|| self.jwks.clone()) {
            Some(jwks) => jwks,
            None => self.discover().await?,
        };
        let json = self.get(&jwks, MAX_KEYS).await?;
        let keys = KeySet::parse(&json).map_err(|why| format!("{jwks}: {why}"))?;
        Ok(Read { keys, jwks })
    }

    /// Where the discovery document says that the keys are.
    async fn discover(&self) -> Result<Url, String> {
        let url = self.discovery.as_ref().ok_or_else(|| "its URL is no issuer's".to_owned())?;
        let json = self.get(url, MAX_DISCOVERY).await?;
        let wrong = |why: String| format!("{url}: {why}");
        let read: Discovery =
            serde_json::from_slice(&json).map_err(|error| wrong(format!("it is no discovery document: {error}")))?;
        if read.issuer != self.issuer {
            let shown: String = read.issuer.chars().take(200).collect();
            return Err(wrong(format!("it is the document of another issuer, {shown:?}")));
        }
        let jwks = Url::parse(&read.jwks_uri).map_err(|_| wrong("its jwks_uri is no URL".to_owned()))?;
        // Only an issuer at this machine may have its keys there without TLS.
        if jwks.scheme() != "https" && !(url.scheme() == "http" && is_secure(&jwks)) {
            return Err(wrong("its jwks_uri is not https".to_owned()));
        }
        if self.at_discovery && jwks.origin() != url.origin() {
            return Err(wrong(format!("its jwks_uri, {jwks}, is at another host: set jwks in place of discovery")));
        }
        Ok(jwks)
    }

    async fn get(&self, url: &Url, max: usize) -> Result<bytes::Bytes, String> {
        let asked = async {
            let ca = match &self.ca {
                Some(path) => Some(read_file(path).await?),
                None => None,
            };
            let client = Reach::new(url, ca.as_deref(), TIMEOUT)?;
            let answered = client.read(url, &self.headers(url).await?, max).await;
            let answered = answered.map_err(|error| error.to_string())?;
            match answered.status {
                200 => Ok(answered.bytes),
                300..=399 => Err("it redirects, which is not followed".to_owned()),
                status @ (401 | 403) => Err(format!("it answers {status}: tokenfile may name a token for it")),
                status => Err(format!("it answers {status}")),
            }
        };
        asked.await.map_err(|why: String| format!("{url}: {why}"))
    }

    /// The headers of a request to a URL: the token goes only to servers that the configuration names.
    async fn headers(&self, url: &Url) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        if let Some(path) = self.token.as_ref().filter(|_| self.trusted.contains(&url.origin())) {
            let token = read_file(path).await?;
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| "the token of tokenfile is no token".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// Reads a file on a thread that may wait for a network file system.
async fn read_file(path: &Path) -> Result<String, String> {
    let (path, shown) = (path.to_owned(), path.display().to_string());
    let read = tokio::task::spawn_blocking(move || bounded_file::read_text(&path, MAX_FILE)).await;
    read.map_err(|error| error.to_string())?.map_err(|error| format!("{shown}: {error}"))
}
