//! An S3 in memory, 10 ms away, for blobs larger than the memory: it keeps no zeros.
//!
//! It honours the conditions that leases rest on (`If-None-Match` and `If-Match` of reads, writes and deletes, and
//! `x-amz-copy-source-if-match`), and an `ETag` is the content's, as MD5s are: the same bytes have the same one.
//! Signatures are not verified. Requests are counted by operation, and by what they are about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::objects::Content;
use super::sparse::Sparse;
use crate::peers::Words;
use crate::support::Said;
use crate::support::front::{PUT_NOTE, operation};
use crate::support::xml::error;

pub const NAME: &str = "pounce";
/// The time until an answer begins.
const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The directory of what belongs to fills.
const FILLS: &str = "pounce/fills/";

/// Requests, by operation and by what they are about.
pub type Calls = BTreeMap<String, u64>;

type Shared = Arc<Mutex<Content>>;

/// A running S3. Dropping the value ends it.
pub struct Bucket {
    address: String,
    content: Shared,
    task: JoinHandle<()>,
}

/// A parsed request.
pub struct Asked {
    pub key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Bucket {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, content) = (listener.local_addr().unwrap().to_string(), Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&content));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, content, task }
    }

    /// The placeholders for it.
    pub fn words(&self) -> Words {
        let key = || "pounce".to_owned();
        Words::from([("s3", format!("http://{}", self.address)), ("accesskey", key()), ("secretkey", key())])
    }

    /// Whether it has the blob.
    pub fn has(&self, digest: &str) -> bool {
        let hex = digest.trim_start_matches("sha256:");
        let key = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.content().objects.contains_key(&key)
    }

    /// The requests so far.
    pub fn calls(&self) -> Calls {
        self.content().calls.clone()
    }

    /// How many objects fills have there, and how many multipart uploads are open.
    pub fn leftovers(&self) -> (usize, usize) {
        let content = self.content();
        let fills = content.objects.keys().filter(|key| key.starts_with(FILLS)).count();
        (fills, content.uploads.len())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a key of a fill is: its lease, a chunk, the head of one, or a wish.
fn about(key: &str) -> &'static str {
    let Some(name) = key.strip_prefix(FILLS).map(|rest| rest.rsplit('/').next().unwrap_or_default()) else {
        return "";
    };
    match name {
        "lease" => " lease",
        _ if name.starts_with("head-") => " head",
        _ if name.starts_with("wants-") => " wants",
        _ if name.len() == 16 => " chunk",
        _ => " fills",
    }
}

async fn answer(State(content): State<Shared>, request: Request) -> Response {
    let named = match operation(request.method(), request.uri(), request.headers()) {
        "GetObject" if request.uri().query() == Some("lifecycle") => "GetBucketLifecycle",
        PUT_NOTE => "PutObject",
        named => named,
    };
    let (parts, body) = request.into_parts();
    let pairs = parts.uri.query().unwrap_or_default();
    let query: BTreeMap<String, String> = url::form_urlencoded::parse(pairs.as_bytes()).into_owned().collect();
    let path = parts.uri.path().trim_start_matches('/').replace("%3A", ":").replace("%3a", ":");
    let key = path.strip_prefix(NAME).unwrap_or_default().trim_start_matches('/').to_owned();
    let asked = Asked { key, query, headers: parts.headers };
    let subject = asked.query.get("prefix").unwrap_or(&asked.key);
    *content.lock().unwrap().calls.entry(format!("{named}{}", about(subject))).or_default() += 1;
    tokio::time::sleep(ROUND_TRIP).await;
    // A body that breaks off changes nothing.
    let (mut received, mut pieces) = (Sparse::default(), body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return respond(error(400, "IncompleteBody", "The body is cut off."));
        };
        received.extend(&piece);
    }
    received.finish();
    let mut content = content.lock().unwrap();
    if named == "GetObject" {
        return content.get(&asked);
    }
    respond(content.carry_out(named, &asked, received))
}

pub fn respond((status, headers, body): Said) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The headers that are stored with an object.
    pub fn stored(&self) -> Vec<(String, String)> {
        let stored = self.headers.iter();
        let stored = stored.filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("x-amz-meta-"));
        stored.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect()
    }
}
