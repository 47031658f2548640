//! A proxy before an S3 that counts calls, by the names of S3's API, and the round trips in which they come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;

use super::trips::Trips;

/// Calls, by operation.
pub type Calls = BTreeMap<&'static str, usize>;

pub struct Front {
    pub addr: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    trips: Arc<Trips>,
    task: tokio::task::JoinHandle<()>,
}

struct Behind {
    s3: String,
    client: reqwest::Client,
    calls: Arc<Mutex<Calls>>,
    trips: Arc<Trips>,
}

impl Front {
    /// Starts before the S3 at a host and port.
    pub async fn before(s3: impl ToString) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (calls, trips) = (Arc::new(Mutex::default()), Arc::new(Trips::default()));
        let client = reqwest::Client::new();
        let behind = Behind { s3: s3.to_string(), client, calls: Arc::clone(&calls), trips: Arc::clone(&trips) };
        let router = Router::new().fallback(pass).with_state(Arc::new(behind));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, calls, trips, task }
    }

    /// The calls since the last `take`.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Does the work, and counts how many round trips come one after the other until it is done.
    pub(crate) async fn trips<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        self.trips.count(work).await
    }

    /// How many calls there were since the last `take`.
    pub fn total(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(behind): State<Arc<Behind>>, request: Request) -> Response {
    let operation = operation(request.method(), request.uri(), request.headers());
    if operation == PUT_NOTE {
        return forward(&behind.client, &behind.s3, request).await.unwrap();
    }
    *behind.calls.lock().unwrap().entry(operation).or_default() += 1;
    let call = behind.trips.begin();
    let passed = forward(&behind.client, &behind.s3, request).await;
    call.answered().await;
    passed.unwrap()
}

/// Sends the same request to the S3 at a host and port.
pub(crate) async fn forward(client: &reqwest::Client, s3: &str, request: Request) -> reqwest::Result<Response> {
    let (parts, body) = request.into_parts();
    let url = format!("http://{s3}{}", parts.uri);
    // The Host header stays, because it is signed.
    let mut passed = client.request(parts.method, url).headers(parts.headers);
    // A streamed body has no length, but a request without a body must not become one of unknown length.
    if !body.is_end_stream() {
        passed = passed.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = passed.send().await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    response.headers_mut().clone_from(answer.headers());
    // This header belongs to the connection.
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    Ok(response)
}

/// A note of pulls, which a process writes when it ends. It is not counted: a test drops a process and counts the calls of
/// the next one.
pub const PUT_NOTE: &str = "PutNote";

/// The S3 operation of a request, or [`PUT_NOTE`].
pub fn operation(method: &Method, uri: &Uri, headers: &HeaderMap) -> &'static str {
    let query = uri.query().unwrap_or_default();
    let asks = |name: &str| {
        let mut pairs = query.split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    let copies = headers.contains_key("x-amz-copy-source");
    match method.as_str() {
        "HEAD" if uri.path().trim_matches('/').contains('/') => "HeadObject",
        "HEAD" => "HeadBucket",
        "GET" if asks("list-type") => "ListObjectsV2",
        "GET" if asks("uploads") => "ListMultipartUploads",
        "GET" if asks("uploadId") => "ListParts",
        "GET" => "GetObject",
        "PUT" if asks("partNumber") && copies => "UploadPartCopy",
        "PUT" if asks("partNumber") => "UploadPart",
        "PUT" if copies => "CopyObject",
        "PUT" if uri.path().contains("/pounce/pulled/") => PUT_NOTE,
        "PUT" => "PutObject",
        "POST" if asks("uploads") => "CreateMultipartUpload",
        "POST" if asks("uploadId") => "CompleteMultipartUpload",
        "POST" if asks("delete") => "DeleteObjects",
        "DELETE" if asks("uploadId") => "AbortMultipartUpload",
        "DELETE" => "DeleteObject",
        _ => "something else",
    }
}
