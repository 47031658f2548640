//! An S3 in memory, 10 ms away, for blobs larger than the memory: it keeps no zeros.
//!
//! It honours the conditions that leases rest on (`If-None-Match` and `If-Match` of reads, writes and deletes, and
//! `x-amz-copy-source-if-match`), and an `ETag` is the content's, as MD5s are: the same bytes have the same one.
//! Signatures are not verified. Requests are counted by operation, and by what they are about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::sparse::Sparse;
use crate::peers::Words;
use crate::support::Said;
use crate::support::front::operation;
use crate::support::xml::{document, element, empty, error, texts, time};

const NAME: &str = "pounce";
/// The time until an answer begins.
const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The most keys of a page.
const PAGE: usize = 1000;
/// The directory of what belongs to fills.
const FILLS: &str = "pounce/fills/";

/// Requests, by operation and by what they are about.
pub type Calls = BTreeMap<String, u64>;

struct Object {
    parts: Vec<Arc<Sparse>>,
    etag: String,
    /// The content type, and user metadata with its prefix.
    headers: Vec<(String, String)>,
    modified: SystemTime,
}

struct Upload {
    key: String,
    headers: Vec<(String, String)>,
    begun: SystemTime,
    parts: BTreeMap<u32, Arc<Sparse>>,
}

#[derive(Default)]
struct Content {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    begun: u64,
    calls: Calls,
}

type Shared = Arc<Mutex<Content>>;

/// A running S3. Dropping the value ends it.
pub struct Bucket {
    address: String,
    content: Shared,
    task: JoinHandle<()>,
}

/// A parsed request.
struct Asked {
    key: String,
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

fn respond((status, headers, body): Said) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The headers that are stored with an object.
    fn stored(&self) -> Vec<(String, String)> {
        let stored = self.headers.iter();
        let stored = stored.filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("x-amz-meta-"));
        stored.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect()
    }
}

impl Object {
    fn new(parts: Vec<Arc<Sparse>>, headers: Vec<(String, String)>, joined: bool) -> Self {
        let mut etag = match &parts[..] {
            [whole] if !joined => whole.fingerprint(),
            parts => {
                let all: String = parts.iter().map(|part| part.fingerprint()).collect();
                format!("{}-{}", const_hex::encode(&Sha256::digest(all)[..16]), parts.len())
            }
        };
        etag = format!("\"{etag}\"");
        Self { parts, etag, headers, modified: SystemTime::now() }
    }

    fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// The headers that describe it.
    fn describe(&self, mut response: axum::http::response::Builder) -> axum::http::response::Builder {
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let modified = httpdate::fmt_http_date(self.modified);
        response.header("etag", &self.etag).header("last-modified", modified).header("accept-ranges", "bytes")
    }
}

/// Whether an `ETag` of a condition is this one.
fn is(wanted: &str, etag: &str) -> bool {
    wanted == "*" || wanted.trim_matches('"') == etag.trim_matches('"')
}

impl Content {
    fn carry_out(&mut self, named: &str, asked: &Asked, received: Sparse) -> Said {
        let key = &asked.key;
        match named {
            "HeadBucket" => empty(200, Vec::new()),
            "HeadObject" => self.head(asked),
            "PutObject" => self.condition(asked).unwrap_or_else(|| {
                let object = Object::new(vec![Arc::new(received)], asked.stored(), false);
                let headers = vec![("etag", object.etag.clone())];
                self.objects.insert(key.clone(), object);
                empty(200, headers)
            }),
            "CopyObject" => match self.source(asked) {
                Err(said) => said,
                Ok((parts, etag)) => {
                    self.objects.insert(
                        key.clone(),
                        Object { etag: etag.clone(), ..Object::new(parts, asked.stored(), false) },
                    );
                    let result = element("ETag", etag) + &element("LastModified", time(SystemTime::now()));
                    document(&format!("<CopyObjectResult>{result}</CopyObjectResult>"))
                }
            },
            "DeleteObject" => self.condition(asked).unwrap_or_else(|| {
                self.objects.remove(key);
                empty(204, Vec::new())
            }),
            "DeleteObjects" => {
                for key in texts(&text(&received), "Key") {
                    self.objects.remove(&key);
                }
                document("<DeleteResult></DeleteResult>")
            }
            "ListObjectsV2" => self.list(asked),
            "ListMultipartUploads" => self.list_uploads(asked),
            "CreateMultipartUpload" => {
                self.begun += 1;
                let id = format!("upload-{:06}", self.begun);
                let (headers, parts) = (asked.stored(), BTreeMap::new());
                self.uploads.insert(id.clone(), Upload { key: key.clone(), headers, begun: SystemTime::now(), parts });
                let body = element("Key", key) + &element("UploadId", id);
                document(&format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"))
            }
            "UploadPart" | "UploadPartCopy" | "ListParts" | "CompleteMultipartUpload" | "AbortMultipartUpload" => {
                self.in_upload(named, asked, received)
            }
            "GetBucketLifecycle" => error(404, "NoSuchLifecycleConfiguration", "There is none."),
            _ => error(501, "NotImplemented", "This S3 does not have it."),
        }
    }

    fn head(&self, asked: &Asked) -> Said {
        let Some(object) = self.objects.get(&asked.key) else { return no_such_key() };
        if let Some(said) = unread(asked, object) {
            return said;
        }
        let described = object.describe(Response::builder()).body(()).unwrap();
        let mut headers = vec![("content-length", object.len().to_string())];
        for (name, value) in described.headers() {
            // A few names, over and over.
            headers.push((String::leak(name.to_string()), value.to_str().unwrap_or_default().to_owned()));
        }
        empty(200, headers)
    }

    fn get(&self, asked: &Asked) -> Response {
        let Some(object) = self.objects.get(&asked.key) else { return respond(no_such_key()) };
        if let Some(said) = unread(asked, object) {
            return respond(said);
        }
        let (size, mut status) = (object.len(), 200);
        let (mut from, mut end) = (0, size);
        let mut response = object.describe(Response::builder());
        if let Some((first, last)) = asked.header("range").and_then(|it| it.strip_prefix("bytes=")?.split_once('-')) {
            (from, status) = (first.parse().unwrap_or(0), 206);
            end = last.parse::<u64>().map_or(size, |last| size.min(last + 1));
            if from >= end {
                return respond(error(416, "InvalidRange", "The requested range is not satisfiable"));
            }
            response = response.header("content-range", format!("bytes {from}-{}/{size}", end - 1));
        }
        let body = Body::from_stream(pieces(object.parts.clone(), from, end));
        response.status(status).header("content-length", end - from).body(body).unwrap()
    }

    /// The refusal of a write or a delete whose condition is not met.
    fn condition(&self, asked: &Asked) -> Option<Said> {
        let there = self.objects.get(&asked.key);
        if asked.header("if-none-match") == Some("*") && there.is_some() {
            return Some(unmet());
        }
        let wanted = asked.header("if-match")?;
        match there {
            None => Some(no_such_key()),
            Some(object) if is(wanted, &object.etag) => None,
            Some(_) => Some(unmet()),
        }
    }

    /// The source of a copy, and its `ETag`.
    fn source(&self, asked: &Asked) -> Result<(Vec<Arc<Sparse>>, String), Said> {
        let source = asked.header("x-amz-copy-source").unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
        let key = source.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let object = self.objects.get(key).ok_or_else(no_such_key)?;
        match asked.header("x-amz-copy-source-if-match") {
            Some(wanted) if !is(wanted, &object.etag) => Err(unmet()),
            _ => Ok((object.parts.clone(), object.etag.clone())),
        }
    }

    fn in_upload(&mut self, named: &str, asked: &Asked, received: Sparse) -> Said {
        let copied = if named == "UploadPartCopy" { Some(self.source(asked)) } else { None };
        let id = asked.query("uploadId");
        let Some(upload) = self.uploads.get_mut(id).filter(|it| it.key == asked.key) else {
            return error(404, "NoSuchUpload", "The specified upload does not exist.");
        };
        let number = asked.query("partNumber").parse().unwrap_or_default();
        match (named, copied) {
            (_, Some(Err(said))) => said,
            (_, Some(Ok((parts, _)))) => {
                // A range of the source, or a source that was itself joined, is copied.
                let mut part = Sparse::default();
                let size: u64 = parts.iter().map(|part| part.len()).sum();
                let range =
                    asked.header("x-amz-copy-source-range").and_then(|it| it.strip_prefix("bytes=")?.split_once('-'));
                let range = range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1)));
                let part = match (&parts[..], range) {
                    ([whole], None) => Arc::clone(whole),
                    _ => {
                        let (mut at, end) = range.unwrap_or((0, size));
                        while let Some(piece) = piece(&parts, at, end) {
                            at += piece.len() as u64;
                            part.extend(&piece);
                        }
                        part.finish();
                        Arc::new(part)
                    }
                };
                let etag = element("ETag", format!("\"{}\"", part.fingerprint()));
                upload.parts.insert(number, part);
                let result = etag + &element("LastModified", time(SystemTime::now()));
                document(&format!("<CopyPartResult>{result}</CopyPartResult>"))
            }
            ("UploadPart", None) => {
                let etag = format!("\"{}\"", received.fingerprint());
                upload.parts.insert(number, Arc::new(received));
                empty(200, vec![("etag", etag)])
            }
            ("ListParts", None) => {
                let after = asked.query("part-number-marker").parse().unwrap_or(0);
                let mut body = String::new();
                let mut listed = upload.parts.range(after + 1..);
                for (number, part) in listed.by_ref().take(PAGE) {
                    let etag = format!("\"{}\"", part.fingerprint());
                    let fields = [element("PartNumber", number), element("ETag", etag), element("Size", part.len())];
                    body = format!("{body}<Part>{}</Part>{}", fields.concat(), element("NextPartNumberMarker", number));
                }
                body += &element("IsTruncated", listed.next().is_some());
                document(&format!("<ListPartsResult>{body}</ListPartsResult>"))
            }
            ("AbortMultipartUpload", None) => {
                self.uploads.remove(id);
                empty(204, Vec::new())
            }
            _ => self.complete(asked, &text(&received)),
        }
    }

    fn complete(&mut self, asked: &Asked, body: &str) -> Said {
        if let Some(refusal) = self.condition(asked) {
            return refusal;
        }
        let id = asked.query("uploadId");
        let upload = &self.uploads[id];
        let mut parts = Vec::new();
        for listed in texts(body, "Part") {
            let field = |name| texts(&listed, name).pop().unwrap_or_default();
            let part = upload.parts.get(&field("PartNumber").parse().unwrap_or_default());
            match part.filter(|part| is(&field("ETag"), &part.fingerprint())) {
                Some(part) => parts.push(Arc::clone(part)),
                None => return error(400, "InvalidPart", "A part could not be found."),
            }
        }
        let object = Object::new(parts, upload.headers.clone(), true);
        let body = element("Key", &asked.key) + &element("ETag", &object.etag);
        self.objects.insert(asked.key.clone(), object);
        self.uploads.remove(id);
        document(&format!("<CompleteMultipartUploadResult>{body}</CompleteMultipartUploadResult>"))
    }

    fn list(&self, asked: &Asked) -> Said {
        let (prefix, delimiter) = (asked.query("prefix"), asked.query("delimiter"));
        let after = asked.query("start-after").max(asked.query("continuation-token"));
        let most = asked.query("max-keys").parse().unwrap_or(PAGE).min(PAGE);
        let mut listed = BTreeMap::new();
        for (key, object) in self.objects.range(prefix.to_owned()..) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            let common = rest.find(delimiter).filter(|_| !delimiter.is_empty()).map(|at| at + delimiter.len());
            let name = common.map_or(&key[..], |end| &key[..prefix.len() + end]);
            if name <= after || listed.contains_key(name) {
                continue;
            }
            if listed.len() == most {
                listed.insert(name, String::new());
                break;
            }
            let entry = if common.is_some() {
                format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", name))
            } else {
                let fields = [
                    element("Key", name),
                    element("LastModified", time(object.modified)),
                    element("ETag", &object.etag),
                    element("Size", object.len()),
                    element("StorageClass", "STANDARD"),
                ];
                format!("<Contents>{}</Contents>", fields.concat())
            };
            listed.insert(name, entry);
        }
        let more = listed.len() > most;
        let page: Vec<_> = listed.into_iter().take(most).collect();
        let mut body = element("Name", NAME) + &element("Prefix", prefix) + &element("KeyCount", page.len());
        body += &element("IsTruncated", more);
        if let Some((last, _)) = page.last().filter(|_| more) {
            body += &element("NextContinuationToken", last);
        }
        body.extend(page.into_iter().map(|(_, entry)| entry));
        document(&format!("<ListBucketResult>{body}</ListBucketResult>"))
    }

    fn list_uploads(&self, asked: &Asked) -> Said {
        let mut body = element("IsTruncated", false);
        for (id, upload) in self.uploads.iter().filter(|(_, it)| it.key.starts_with(asked.query("prefix"))) {
            let fields =
                [element("Key", &upload.key), element("UploadId", id), element("Initiated", time(upload.begun))];
            body = format!("{body}<Upload>{}</Upload>", fields.concat());
        }
        document(&format!("<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"))
    }
}

/// The answer to a read whose condition is not met.
fn unread(asked: &Asked, object: &Object) -> Option<Said> {
    if asked.header("if-match").is_some_and(|wanted| !is(wanted, &object.etag)) {
        return Some(unmet());
    }
    let same = asked.header("if-none-match").is_some_and(|known| is(known, &object.etag));
    let modified = httpdate::fmt_http_date(object.modified);
    same.then(|| empty(304, vec![("etag", object.etag.clone()), ("last-modified", modified)]))
}

/// The next piece of what several parts hold together.
fn piece(parts: &[Arc<Sparse>], from: u64, end: u64) -> Option<bytes::Bytes> {
    let mut begin = 0;
    for part in parts.iter().filter(|_| from < end) {
        if from < begin + part.len() {
            return Some(part.piece(from - begin, end - begin));
        }
        begin += part.len();
    }
    None
}

fn pieces(
    parts: Vec<Arc<Sparse>>,
    from: u64,
    end: u64,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, std::io::Error>> {
    stream::unfold(from, move |at| {
        let piece = piece(&parts, at, end);
        async move { piece.map(|piece| (Ok(piece.clone()), at + piece.len() as u64)) }
    })
}

/// A small body.
fn text(body: &Sparse) -> String {
    let mut bytes = Vec::new();
    while let at = bytes.len() as u64
        && at < body.len()
    {
        bytes.extend_from_slice(&body.piece(at, body.len()));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn no_such_key() -> Said {
    error(404, "NoSuchKey", "The specified key does not exist.")
}

fn unmet() -> Said {
    error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
}
