//! A registry that behaves as it is told, and remembers its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::blob::{self, Counts};
use super::demands::{demand, token};
use super::dice::Dice;
use super::image::{Image, OCI_INDEX, digest};
pub use super::manners::{Auth, Manners};

/// A request that it received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Repository {
    manifests: BTreeMap<String, (String, Bytes)>,
    tags: BTreeMap<String, String>,
    blobs: BTreeMap<String, Bytes>,
    /// The index of referrers, by subject.
    referrers: BTreeMap<String, Bytes>,
}

#[derive(Default)]
struct Content {
    repositories: BTreeMap<String, Repository>,
    manners: Manners,
    moods: Option<Moods>,
    seen: Vec<Seen>,
    counts: Counts,
}

/// Random misbehaviour.
struct Moods {
    all: Vec<Manners>,
    percent: u64,
    dice: Dice,
    /// How many requests it misbehaved at.
    times: usize,
}

impl Content {
    /// The behaviour for the next request.
    fn settle(&mut self) -> Manners {
        let Some(moods) = &mut self.moods else {
            return self.manners.clone();
        };
        let happens = |_: &&Manners| moods.dice.percent(moods.percent);
        // A random start, so that no mood is always the first.
        let (before, after) = moods.all.split_at(moods.dice.index(moods.all.len()));
        let Some(mood) = after.iter().chain(before).find(happens) else {
            return self.manners.clone();
        };
        moods.times += 1;
        mood.clone()
    }
}

pub struct Upstream {
    pub addr: SocketAddr,
    content: Arc<Mutex<Content>>,
    /// Up to which byte of a blob bodies go on that were stopped.
    gate: watch::Sender<usize>,
    task: tokio::task::JoinHandle<()>,
}

type Shared = (Arc<Mutex<Content>>, watch::Receiver<usize>, SocketAddr);

impl Upstream {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let content = Arc::new(Mutex::new(Content::default()));
        let (gate, watching) = watch::channel(0);
        let router = Router::new().fallback(answer).with_state((Arc::clone(&content), watching, addr));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, content, gate, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it: it refuses connections from now on.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub fn add(&self, name: &str, tag: &str, image: &Image) {
        let mut content = self.content();
        let repository = content.repositories.entry(name.into()).or_default();
        repository.manifests.insert(image.digest(), (image.media_type.clone(), image.manifest.clone()));
        repository.tags.insert(tag.into(), image.digest());
        for blob in &image.blobs {
            repository.blobs.insert(digest(blob), blob.clone());
        }
    }

    pub fn remove(&self, name: &str, tag: &str) {
        let mut content = self.content();
        let repository = content.repositories.get_mut(name).unwrap();
        repository.tags.remove(tag).unwrap();
    }

    pub fn add_manifest(&self, name: &str, reference: &str, media_type: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let mut content = self.content();
        let repository = content.repositories.entry(name.into()).or_default();
        repository.tags.insert(reference.into(), digest(&bytes));
        repository.manifests.insert(digest(&bytes), (media_type.into(), bytes));
    }

    /// Deletes a manifest.
    pub fn drop_manifest(&self, name: &str, digest: &str) {
        let mut content = self.content();
        let repository = content.repositories.get_mut(name).unwrap();
        repository.manifests.remove(digest);
    }

    /// Adds a referrers API for this subject.
    pub fn add_referrers(&self, name: &str, subject: &str, index: impl Into<Bytes>) {
        let mut content = self.content();
        let repository = content.repositories.entry(name.into()).or_default();
        repository.referrers.insert(subject.into(), index.into());
    }

    pub fn behave(&self, manners: Manners) {
        let mut content = self.content();
        content.manners = manners;
        content.counts = Counts::default();
    }

    /// From now on, each of these manners applies to so many percent of the requests.
    pub fn behave_at_random(&self, all: Vec<Manners>, percent: u64, seed: u64) {
        let dice = Dice::new(seed);
        let times = 0;
        self.content().moods = Some(Moods { all, percent, dice, times });
    }

    /// Behaves well again; returns how many requests it misbehaved at.
    pub fn recover(&self) -> usize {
        self.content().moods.take().map_or(0, |moods| moods.times)
    }

    /// Releases the bodies that `holds_after` stopped.
    pub fn release(&self) {
        self.gate.send_replace(usize::MAX);
    }

    /// The same, up to this byte of the blob.
    pub fn release_to(&self, byte: usize) {
        self.gate.send_replace(byte);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.content().seen.clone()
    }

    /// How many requests had this method, and this in their path.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.content().seen.iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }

    /// All registry requests, without those for tokens.
    pub fn requests(&self) -> usize {
        self.content().seen.len()
    }

    /// The counts of blobs since the last change of manners.
    pub fn counts(&self) -> Counts {
        self.content().counts.clone()
    }

    /// Bytes of blobs sent since the last change of manners.
    pub fn blob_bytes(&self) -> usize {
        self.counts().bytes.load(Ordering::SeqCst)
    }

    /// The largest number of blob bodies that it sent at once.
    pub fn most_open(&self) -> usize {
        self.counts().most_open.load(Ordering::SeqCst)
    }

    /// The GETs for blobs that it refused because it sent too many at once.
    pub fn refused(&self) -> usize {
        self.counts().refused.load(Ordering::SeqCst)
    }

    pub fn forget(&self) {
        self.content().seen.clear();
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State((content, mut gate, addr)): State<Shared>, request: Request) -> Response {
    let manners = content.lock().unwrap().settle();
    if manners.stalls {
        gate.wait_for(|released| *released == usize::MAX).await.unwrap();
    }
    content.lock().unwrap().seen.push(Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
    });
    if request.uri().path() == "/token" {
        return token(&manners, request).await;
    }
    reply(&content.lock().unwrap(), manners, &request, gate, addr)
}

fn reply(
    content: &Content,
    manners: Manners,
    request: &Request,
    gate: watch::Receiver<usize>,
    addr: SocketAddr,
) -> Response {
    let path = request.uri().path().to_owned();
    let counts = content.counts.clone();
    if let Some(status) = manners.status {
        let mut response = StatusCode::from_u16(status).unwrap().into_response();
        if let Some(after) = manners.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.parse().unwrap());
        }
        return response;
    }
    if path == "/nothere" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let accept = request.headers().get(header::ACCEPT).map_or(0, axum::http::HeaderValue::len);
    if manners.longest_accept.is_some_and(|longest| accept > longest) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let segments: Vec<&str> = path.trim_start_matches("/v2/").rsplitn(3, '/').collect();
    let [last, kind, name] = segments[..] else {
        let refusal = demand(&manners, request, "", addr);
        return refusal.unwrap_or(StatusCode::OK.into_response());
    };
    if manners.broken_realm_for.as_deref() == Some(name) {
        let challenge = format!("Bearer realm=\"http://{addr}/nothere\"");
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    if let Some(refusal) = demand(&manners, request, name, addr) {
        return refusal;
    }
    let Some(repository) = content.repositories.get(name) else {
        return not_found("NAME_UNKNOWN");
    };
    match kind {
        "tags" => tags(repository, name, request.uri().query().unwrap_or_default()),
        "referrers" => match repository.referrers.get(last) {
            Some(index) => ([(header::CONTENT_TYPE, OCI_INDEX)], index.clone()).into_response(),
            None => not_found("UNSUPPORTED"),
        },
        "manifests" => {
            let wanted = repository.tags.get(last).map_or(last, String::as_str);
            let Some((media_type, bytes)) = repository.manifests.get(wanted) else {
                return not_found("MANIFEST_UNKNOWN");
            };
            let mut response = ([(header::CONTENT_TYPE, media_type.clone())], bytes.clone()).into_response();
            if !manners.hides_digests {
                response.headers_mut().insert("docker-content-digest", wanted.parse().unwrap());
            }
            response
        }
        _ => match repository.blobs.get(last) {
            None => not_found("BLOB_UNKNOWN"),
            Some(_) if manners.refuses_blob_heads && request.method() == "HEAD" => {
                StatusCode::UNAUTHORIZED.into_response()
            }
            Some(_) if manners.blob_heads_get.is_some() && request.method() == "HEAD" => {
                StatusCode::from_u16(manners.blob_heads_get.unwrap()).unwrap().into_response()
            }
            Some(_) if manners.redirects_blobs_to.is_some() => {
                let location = format!("{}{path}", manners.redirects_blobs_to.unwrap());
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
            }
            Some(blob) => blob::serve(blob.clone(), request, &manners, &counts, gate),
        },
    }
}

/// Pages of at most `n`, with a relative Link.
fn tags(repository: &Repository, name: &str, query: &str) -> Response {
    let find =
        |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(ToOwned::to_owned);
    let last = find("last").unwrap_or_default();
    // Smaller than asked for, so that there is always a next page.
    let tags: Vec<_> = repository.tags.keys().filter(|tag| **tag > last).take(2).cloned().collect();
    let link = tags.last().map(|last| format!("</v2/{name}/tags/list?n=2&last={last}>; rel=\"next\""));
    let mut response = axum::body::Body::from(json!({"name": name, "tags": tags}).to_string()).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    response
}

fn not_found(code: &str) -> Response {
    (StatusCode::NOT_FOUND, json!({"errors": [{"code": code}]}).to_string()).into_response()
}
