//! Ollama's client, written after what its sources of August 2026 send: `server/download.go`, `server/images.go`,
//! `server/auth.go`.

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use serde_json::Value;

use super::ollama_key::{OllamaKey, challenge, token_request};
use super::pounce::{Reply, read};

const AGENT: &str = "ollama/0.12.0 (amd64 linux) Go/go1.24.1";
/// How many parts of a blob it fetches at once.
const PARALLEL: usize = 16;

/// `ollama pull` against one registry.
pub struct Ollama {
    base: Url,
    /// Parts have so many bytes; a real one has from 100 MB to 1,000 MB.
    pub part: u64,
    /// Follows redirects by itself.
    http: Client,
    /// Go's default client, which fetches the parts.
    plain: Client,
    key: Option<OllamaKey>,
    pub token: Option<String>,
}

impl Ollama {
    pub fn of(base: &str, part: u64) -> Self {
        let http = Client::builder().redirect(Policy::none()).user_agent(AGENT).build().unwrap();
        let plain = Client::builder().redirect(Policy::limited(10)).user_agent("Go-http-client/1.1").build().unwrap();
        Self { base: base.parse().unwrap(), part, http, plain, key: None, token: None }
    }

    pub fn with_key(self, key: OllamaKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// `makeRequestWithRetry`: one login after a 401; a 4xx is an error with the body.
    async fn request(&mut self, method: Method, url: &Url, accept: Option<&str>) -> Result<Response, Reply> {
        for _ in 0..2 {
            let response = self.follow(method.clone(), url.clone(), accept).await;
            match response.status().as_u16() {
                401 => {
                    let token = self.log_in(response.headers()).await?;
                    self.token = Some(token);
                }
                400.. => return Err(read(response).await),
                _ => return Ok(response),
            }
        }
        panic!("unauthorized: access denied");
    }

    /// Follows redirects to the same host name, whatever the port.
    async fn follow(&self, method: Method, url: Url, accept: Option<&str>) -> Response {
        let mut url = url;
        for _ in 0..10 {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            match location.map(|location| url.join(location.to_str().unwrap()).unwrap()) {
                Some(next) if next.host_str() == self.base.host_str() => url = next,
                _ => return response,
            }
        }
        panic!("too many redirects");
    }

    async fn log_in(&self, headers: &HeaderMap) -> Result<String, Reply> {
        let challenge = challenge(headers);
        let key = self.key.as_ref().expect("a key");
        let url = token_request(&challenge, super::signer::now(), "bm9uY2Ugb2YgdGVzdHM");
        // "realm host does not match original host"
        let realm: Url = url.parse().unwrap();
        assert_eq!((realm.host_str(), realm.port()), (self.base.host_str(), self.base.port()));
        let request = self.http.get(&url).header("authorization", key.authorization(&url));
        let reply = read(request.send().await.unwrap()).await;
        if reply.status >= 400 {
            return Err(reply);
        }
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        Ok(body["token"].as_str().unwrap().to_owned())
    }

    fn blob(&self, name: &str, digest: &str) -> Url {
        self.base.join(&format!("/v2/{name}/blobs/{digest}")).unwrap()
    }

    pub(crate) async fn manifest(&mut self, name: &str, tag: &str) -> Result<Value, Reply> {
        let url = self.base.join(&format!("/v2/{name}/manifests/{tag}")).unwrap();
        let accept = "application/vnd.docker.distribution.manifest.v2+json";
        let response = self.request(Method::GET, &url, Some(accept)).await?;
        Ok(serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    /// A blob's size, which a resumed pull does not ask for.
    pub(crate) async fn size(&mut self, name: &str, digest: &str) -> Result<u64, Reply> {
        let url = self.blob(name, digest);
        let response = self.request(Method::HEAD, &url, None).await?;
        Ok(response.headers()["content-length"].to_str().unwrap().parse().unwrap())
    }

    /// The URL at which all parts of a blob are.
    pub(crate) async fn direct(&mut self, name: &str, digest: &str) -> Result<Url, Reply> {
        let url = self.blob(name, digest);
        let response = self.request(Method::GET, &url, None).await?;
        assert!(matches!(response.status().as_u16(), 200 | 307), "unexpected status code {}", response.status());
        let location = response.headers().get(LOCATION).expect("http: no Location header in response");
        Ok(response.url().join(location.to_str().unwrap()).unwrap())
    }

    /// Some bytes of a blob, from the first to the last. The client does not look at the status.
    pub(crate) async fn part(&self, direct: &Url, first: u64, last: u64) -> Reply {
        let request = self.plain.get(direct.clone()).header("range", format!("bytes={first}-{last}"));
        read(request.send().await.unwrap()).await
    }

    /// The bytes of a blob of this size from `start` on, in parts.
    pub(crate) async fn parts(&self, direct: &Url, start: u64, size: u64) -> Bytes {
        let starts = (start..size).step_by(usize::try_from(self.part).unwrap());
        let parts = starts.map(|first| async move {
            let last = (first + self.part).min(size) - 1;
            let reply = self.part(direct, first, last).await;
            assert!(reply.whole && reply.body.len() as u64 == last - first + 1, "{first}-{last}: {reply:?}");
            reply.body
        });
        let parts: Vec<Bytes> = futures_util::stream::iter(parts).buffered(PARALLEL).collect().await;
        parts.concat().into()
    }

    /// A blob, as `ollama pull` fetches it.
    pub(crate) async fn pull(&mut self, name: &str, digest: &str) -> Result<Bytes, Reply> {
        let size = self.size(name, digest).await?;
        let direct = self.direct(name, digest).await?;
        Ok(self.parts(&direct, 0, size).await)
    }
}
