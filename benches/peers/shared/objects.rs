//! What the S3 in memory has, and its operations on objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::response::Builder;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};

use super::bucket::{Asked, Calls, NAME, respond};
use super::sparse::Sparse;
use super::uploads::Upload;
use crate::support::Said;
use crate::support::xml::{document, element, empty, error, texts, time};

/// The most keys of a page.
const PAGE: usize = 1000;

pub(super) struct Object {
    pub(super) parts: Vec<Arc<Sparse>>,
    pub(super) etag: String,
    /// The content type, and user metadata with its prefix.
    pub(super) headers: Vec<(String, String)>,
    pub(super) modified: SystemTime,
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) begun: u64,
    pub(super) calls: Calls,
}

impl Object {
    pub(super) fn new(parts: Vec<Arc<Sparse>>, headers: Vec<(String, String)>, joined: bool) -> Self {
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

    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// The headers that describe it.
    pub(super) fn describe(&self, mut response: Builder) -> Builder {
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let modified = httpdate::fmt_http_date(self.modified);
        response.header("etag", &self.etag).header("last-modified", modified).header("accept-ranges", "bytes")
    }
}

/// Whether an `ETag` of a condition is this one.
pub(super) fn is(wanted: &str, etag: &str) -> bool {
    wanted == "*" || wanted.trim_matches('"') == etag.trim_matches('"')
}

impl Content {
    pub(super) fn carry_out(&mut self, named: &str, asked: &Asked, received: Sparse) -> Said {
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
            "CreateMultipartUpload" => self.create(asked),
            "UploadPart" | "UploadPartCopy" | "ListParts" | "CompleteMultipartUpload" | "AbortMultipartUpload" => {
                self.in_upload(named, asked, received)
            }
            "GetBucketLifecycle" => error(404, "NoSuchLifecycleConfiguration", "There is none."),
            _ => error(501, "NotImplemented", "This S3 does not have it."),
        }
    }

    pub(super) fn head(&self, asked: &Asked) -> Said {
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

    pub(super) fn get(&self, asked: &Asked) -> Response {
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
    pub(super) fn condition(&self, asked: &Asked) -> Option<Said> {
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
    pub(super) fn source(&self, asked: &Asked) -> Result<(Vec<Arc<Sparse>>, String), Said> {
        let source = asked.header("x-amz-copy-source").unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
        let key = source.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let object = self.objects.get(key).ok_or_else(no_such_key)?;
        match asked.header("x-amz-copy-source-if-match") {
            Some(wanted) if !is(wanted, &object.etag) => Err(unmet()),
            _ => Ok((object.parts.clone(), object.etag.clone())),
        }
    }

    pub(super) fn list(&self, asked: &Asked) -> Said {
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
}

/// The answer to a read whose condition is not met.
pub(super) fn unread(asked: &Asked, object: &Object) -> Option<Said> {
    if asked.header("if-match").is_some_and(|wanted| !is(wanted, &object.etag)) {
        return Some(unmet());
    }
    let same = asked.header("if-none-match").is_some_and(|known| is(known, &object.etag));
    let modified = httpdate::fmt_http_date(object.modified);
    same.then(|| empty(304, vec![("etag", object.etag.clone()), ("last-modified", modified)]))
}

/// The next piece of what several parts hold together.
pub(super) fn piece(parts: &[Arc<Sparse>], from: u64, end: u64) -> Option<Bytes> {
    let mut begin = 0;
    for part in parts.iter().filter(|_| from < end) {
        if from < begin + part.len() {
            return Some(part.piece(from - begin, end - begin));
        }
        begin += part.len();
    }
    None
}

pub(super) fn pieces(
    parts: Vec<Arc<Sparse>>,
    from: u64,
    end: u64,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(from, move |at| {
        let piece = piece(&parts, at, end);
        async move { piece.map(|piece| (Ok(piece.clone()), at + piece.len() as u64)) }
    })
}

/// A small body.
pub(super) fn text(body: &Sparse) -> String {
    let mut bytes = Vec::new();
    while let at = bytes.len() as u64
        && at < body.len()
    {
        bytes.extend_from_slice(&body.piece(at, body.len()));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn no_such_key() -> Said {
    error(404, "NoSuchKey", "The specified key does not exist.")
}

pub(super) fn unmet() -> Said {
    error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
}
