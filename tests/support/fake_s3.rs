//! An in-memory S3 that can have a real store's rules: path style, one bucket, signatures not verified unless it has keys.

mod bucket;
pub mod keys;
mod multipart;
mod operations;
mod xml;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::faults::Held;
use super::front::{Calls, PUT_NOTE, operation};
use super::scripted::Said;
use super::upstream::Seen;
use bucket::Bucket;
use keys::{KeyPair, May};

/// A rule of a real store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A PUT or a POST without `Content-Length` is a 411 (Ceph RGW, Google).
    NeedsContentLength,
    /// `If-Match` and `If-None-Match` of a PUT or a DELETE are ignored (Garage 2, `MinIO` of 2019).
    IgnoresConditions,
    /// Those of a DELETE only are ignored (Ceph RGW 16).
    IgnoresConditionsOfDeletes,
    /// All parts but the last are of one size, and the last is not larger: else Complete is a 400 (Cloudflare R2).
    EqualParts,
    /// `UploadPartCopy` is a 501.
    NoUploadPartCopy,
    /// A PUT with a condition is a 501.
    NoConditions,
    /// `DeleteObjects` without a `Content-MD5` is a 400 (`MinIO` until 2025).
    NeedsContentMd5,
    /// `ListParts` is a 501.
    NoListParts,
    /// `ListObjectsV2` with a delimiter is a 501.
    NoDelimiter,
    /// `ListObjectsV2` ignores the delimiter, and lists every key.
    IgnoresDelimiter,
    /// An `Authorization` header beside a presigned URL is a 400 (Ceph RGW).
    RefusesAuthorization,
    /// A lifecycle moves every object to GLACIER as soon as it is written: GET and copies are 403.
    Freezes,
    /// Every write fails with this status: 507 as from `MinIO`, or 500.
    FullDisk(u16),
    /// The store's clock is so many seconds ahead or behind: `Date` shows it, and more than 15 minutes are a 403.
    Clock(i64),
    /// A presigned request is done however old it is, as behind a proxy that signs requests anew.
    IgnoresExpiry,
    /// Requests without `x-tigris-consistent: true` see a write or a delete only after so long; those with it see it at
    /// once if it had the header, too.
    Lags(Duration),
    /// A proxy makes the `ETag`s of objects weak, but not those of lists and parts.
    WeakEtags,
    /// Parts may be smaller than 5 MiB, so that tests of many chunks need little memory.
    SmallParts,
}

/// Answers instead of the store, unless it returns `None`.
type Hook = dyn Fn(Seen) -> BoxFuture<'static, Option<Said>> + Send + Sync;

#[derive(Default)]
struct Inside {
    rules: Mutex<Vec<Rule>>,
    pairs: Mutex<Vec<KeyPair>>,
    bucket: Mutex<Bucket>,
    calls: Mutex<Calls>,
    seen: Mutex<Vec<(&'static str, Seen)>>,
    hooks: Mutex<Vec<Planned>>,
}

/// The hook for the next requests of one operation.
struct Planned {
    operation: &'static str,
    left: AtomicUsize,
    hook: Arc<Hook>,
}

/// The store; dropping it stops it.
pub struct FakeS3 {
    pub addr: SocketAddr,
    inside: Arc<Inside>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeS3 {
    /// The name of its only bucket.
    pub const BUCKET: &str = "bucket";

    pub async fn start(rules: &[Rule]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let inside = Arc::new(Inside::default());
        *inside.rules.lock().unwrap() = rules.to_vec();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inside));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, inside, task }
    }

    /// Variables for a pounce that uses it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://{}", self.addr);
        vec![
            ("REGISTRY_STORAGE", "s3".into()),
            ("REGISTRY_STORAGE_S3_BUCKET", Self::BUCKET.into()),
            ("REGISTRY_STORAGE_S3_REGIONENDPOINT", url),
            ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true".into()),
            ("REGISTRY_STORAGE_S3_REGION", "auto".into()),
            ("REGISTRY_STORAGE_S3_ACCESSKEY", "a".into()),
            ("REGISTRY_STORAGE_S3_SECRETKEY", "b".into()),
        ]
    }

    /// Replaces all rules.
    pub fn rules(&self, rules: &[Rule]) {
        *self.inside.rules.lock().unwrap() = rules.to_vec();
    }

    /// From now on it knows these key pairs and that of [`variables`](Self::variables), and verifies signatures.
    pub fn know(&self, pairs: &[KeyPair]) {
        let own = KeyPair { id: "a", secret: "b", may: May::ALL };
        *self.inside.pairs.lock().unwrap() = pairs.iter().cloned().chain([own]).collect();
    }

    /// The calls since the last `take`.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut self.inside.calls.lock().unwrap())
    }

    /// How many calls there were since the last `take`.
    pub fn total(&self) -> usize {
        self.inside.calls.lock().unwrap().values().sum()
    }

    /// Every request of an operation so far, with its original headers.
    pub fn seen(&self, operation: &str) -> Vec<Seen> {
        let seen = self.inside.seen.lock().unwrap();
        let fits = seen.iter().filter(|(named, _)| *named == operation);
        fits.map(|(_, seen)| seen.clone()).collect()
    }

    /// Every request so far, with its operation.
    pub fn all_seen(&self) -> Vec<(&'static str, Seen)> {
        self.inside.seen.lock().unwrap().clone()
    }

    /// `hook` answers the next `times` requests of an operation; the store answers where the hook returns `None`.
    pub fn on<F>(&self, operation: &'static str, times: usize, hook: impl Fn(Seen) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Said>> + Send + 'static,
    {
        self.inside.hooks.lock().unwrap().push(Planned {
            operation,
            left: AtomicUsize::new(times),
            hook: Arc::new(move |seen| Box::pin(hook(seen))),
        });
    }

    /// Removes all hooks.
    pub fn forget_hooks(&self) {
        self.inside.hooks.lock().unwrap().clear();
    }

    /// Holds the next one of these operations until it is released.
    pub fn hold(&self, operation: &'static str) -> Arc<Held> {
        let held = Arc::new(Held::default());
        let waits = Arc::clone(&held);
        self.on(operation, 1, move |_| {
            let held = Arc::clone(&waits);
            async move {
                held.wait().await;
                None
            }
        });
        held
    }

    /// The keys of all objects, in order, with those that a region does not see yet.
    pub fn keys(&self) -> Vec<String> {
        self.bucket().objects.keys().cloned().collect()
    }

    /// The content of an object.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        let bucket = self.bucket();
        bucket.objects.get(key).map(|object| object.bytes.clone())
    }

    /// The headers that are stored with an object: `content-type`, and user metadata with its prefix.
    pub fn headers(&self, key: &str) -> Vec<(String, String)> {
        let bucket = self.bucket();
        let found = bucket.objects.get(key);
        found.map_or(Vec::new(), |object| object.headers.clone())
    }

    /// Writes an object as another program would.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let object = bucket::Object::new(bytes.into(), Vec::new());
        self.bucket().objects.insert(key.to_owned(), object);
    }

    /// Writes an object with headers of its own.
    pub fn put_with(&self, key: &str, bytes: impl Into<Bytes>, headers: &[(&str, &str)]) {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let object = bucket::Object::new(bytes.into(), headers.collect());
        self.bucket().objects.insert(key.to_owned(), object);
    }

    /// Deletes an object as another program would.
    pub fn remove(&self, key: &str) -> bool {
        self.bucket().objects.remove(key).is_some()
    }

    /// Makes all objects with this in their keys, and all uploads, older.
    pub fn age(&self, part: &str, by: Duration) {
        let mut bucket = self.bucket();
        for (key, object) in &mut bucket.objects {
            if key.contains(part) {
                object.modified -= by;
            }
        }
        for upload in bucket.uploads.values_mut() {
            if upload.key.contains(part) {
                upload.begun -= by;
            }
        }
    }

    /// Dates all objects with this in their keys ahead.
    pub fn dated_ahead(&self, part: &str, by: Duration) {
        for (key, object) in &mut self.bucket().objects {
            if key.contains(part) {
                object.modified += by;
            }
        }
    }

    /// A lifecycle moves all objects with this in their keys to GLACIER.
    pub fn freeze(&self, part: &str) {
        for (key, object) in &mut self.bucket().objects {
            object.frozen |= key.contains(part);
        }
    }

    /// The keys of uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> Vec<String> {
        let bucket = self.bucket();
        bucket.uploads.values().map(|it| it.key.clone()).collect()
    }

    /// The part sizes of each completed upload, in order.
    pub fn completed(&self) -> Vec<Vec<usize>> {
        self.bucket().completed.clone()
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.inside.bucket.lock().unwrap()
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(inside): State<Arc<Inside>>, request: Request) -> Response {
    let named = match operation(request.method(), request.uri(), request.headers()) {
        "GetObject" if request.uri().query() == Some("lifecycle") => "GetBucketLifecycle",
        named => named,
    };
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    if named != PUT_NOTE {
        *inside.calls.lock().unwrap().entry(named).or_default() += 1;
    }
    inside.seen.lock().unwrap().push((named, seen.clone()));
    let hook = inside.next_hook(named);
    let hooked = match hook {
        Some(hook) => hook(seen).await,
        None => None,
    };
    let rules = inside.rules.lock().unwrap().clone();
    let skew = rules.iter().find_map(|rule| match rule {
        Rule::Clock(skew) => Some(*skew),
        _ => None,
    });
    let (status, headers, body) = if let Some(said) = hooked {
        said
    } else {
        let (parts, body) = request.into_parts();
        let refusal = keys::refuse(&inside.pairs.lock().unwrap(), named, &parts);
        match axum::body::to_bytes(body, usize::MAX).await {
            Ok(_) if refusal.is_some() => refusal.unwrap_or_default(),
            Ok(body) => {
                let mut bucket = inside.bucket.lock().unwrap();
                let named = if named == PUT_NOTE { "PutObject" } else { named };
                bucket.answer(named, &parts, &body, &rules, now(skew))
            }
            Err(_) => xml::error(400, "IncompleteBody", "The body is cut off."),
        }
    };
    let mut response = Response::builder().status(status);
    if skew.is_some() {
        response = response.header(header::DATE, httpdate::fmt_http_date(now(skew)));
    }
    let is_weak = rules.contains(&Rule::WeakEtags) && ["GetObject", "PutObject"].contains(&named);
    for (name, value) in headers {
        let value = if is_weak && name == "etag" { format!("W/{value}") } else { value };
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Inside {
    fn next_hook(&self, operation: &str) -> Option<Arc<Hook>> {
        let mut hooks = self.hooks.lock().unwrap();
        hooks.retain(|planned| planned.left.load(Ordering::Relaxed) > 0);
        let planned = hooks.iter().find(|it| it.operation == operation)?;
        planned.left.fetch_sub(1, Ordering::Relaxed);
        Some(Arc::clone(&planned.hook))
    }
}

/// The time on the store's clock.
fn now(skew: Option<i64>) -> SystemTime {
    let skew = skew.unwrap_or_default();
    let by = Duration::from_secs(skew.unsigned_abs());
    match skew {
        0.. => SystemTime::now() + by,
        _ => SystemTime::now() - by,
    }
}
