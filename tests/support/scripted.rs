//! A server with scripted answers: an upstream, a token server or a storage host.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;

use super::image::{Image, digest};
use super::upstream::Seen;

/// A status, headers, and a body. With `transfer-encoding` among the headers, it comes without a length.
pub type Said = (u16, Vec<(&'static str, String)>, Bytes);

/// An image's manifest, as registries answer with it.
pub fn manifest(image: &Image) -> Said {
    let headers = vec![("content-type", image.media_type.clone()), ("docker-content-digest", image.digest())];
    (200, headers, image.manifest.clone())
}

/// The image's manifest or blob, for a path that ends in its digest.
pub fn by_digest(image: &Image, path: &str) -> Option<Said> {
    if path.ends_with(&image.digest()) {
        return Some(manifest(image));
    }
    let blob = image.blobs.iter().find(|it| path.ends_with(&digest(it)))?;
    let headers = vec![("content-type", "application/octet-stream".to_owned())];
    Some((200, headers, blob.clone()))
}

/// A registry's refusal.
pub fn refusal(status: u16, code: &str) -> Said {
    let body = serde_json::json!({"errors": [{"code": code, "message": "no"}]});
    json(status, &body)
}

/// A status and JSON.
pub fn json(status: u16, body: &serde_json::Value) -> Said {
    let headers = vec![("content-type", "application/json".to_owned())];
    (status, headers, body.to_string().into())
}

/// A status and a text of some type.
pub fn text(status: u16, media_type: &str, body: &str) -> Said {
    let headers = vec![("content-type", media_type.to_owned())];
    (status, headers, Bytes::copy_from_slice(body.as_bytes()))
}

type Script = dyn Fn(Seen) -> BoxFuture<'static, Said> + Send + Sync;
type Shared = (Arc<Script>, Arc<Mutex<Vec<Seen>>>);

pub struct Scripted {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    /// `script` answers every request.
    pub async fn start<F>(script: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Said> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(move |request| Box::pin(script(request)));
        let router = Router::new().fallback(answer).with_state((script, Arc::clone(&seen)));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, seen, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// How many requests had this method, and this in their path.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let seen = self.seen();
        let fits = |it: &&Seen| it.method == method && it.path.contains(part);
        seen.iter().filter(fits).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State((script, seen)): State<Shared>, request: Request) -> Response {
    let request = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    seen.lock().unwrap().push(request.clone());
    let (status, headers, body) = script(request).await;
    let mut response = Response::builder().status(status);
    let mut has_length = true;
    for (name, value) in headers {
        if name == "transfer-encoding" {
            has_length = false;
        } else {
            response = response.header(name, value);
        }
    }
    let body = if has_length { Body::from(body) } else { Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])) };
    response.body(body).unwrap()
}
