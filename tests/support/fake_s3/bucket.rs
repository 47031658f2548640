//! The bucket's content, and the region's view of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{FakeS3, Rule, Said, xml};

/// The header that sends a request to the leader.
const CONSISTENT: &str = "x-tigris-consistent";

/// How much a request's clock may differ from the store's.
const MAX_SKEW: Duration = Duration::from_mins(15);

#[derive(Clone)]
pub struct Object {
    pub bytes: Bytes,
    /// `content-type`, and user metadata with its prefix.
    pub headers: Vec<(String, String)>,
    pub etag: String,
    pub modified: SystemTime,
    /// A lifecycle moved it to GLACIER.
    pub frozen: bool,
}

impl Object {
    pub fn new(bytes: Bytes, headers: Vec<(String, String)>) -> Self {
        Self { etag: etag(&bytes), bytes, headers, modified: SystemTime::now(), frozen: false }
    }
}

pub struct Upload {
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub begun: SystemTime,
    pub parts: BTreeMap<u32, Bytes>,
}

/// A key before its last change, as lagging regions see it.
struct Before {
    object: Option<Object>,
    until: Instant,
    /// The leader has the change.
    at_leader: bool,
}

#[derive(Default)]
pub struct Bucket {
    pub objects: BTreeMap<String, Object>,
    pub uploads: BTreeMap<String, Upload>,
    pub completed: Vec<Vec<usize>>,
    pub begun: usize,
    before: HashMap<String, Before>,
}

/// A parsed request.
pub struct Asked<'a> {
    pub key: String,
    pub query: HashMap<String, String>,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    pub rules: &'a [Rule],
    /// The store's clock.
    pub now: SystemTime,
}

impl Asked<'_> {
    pub fn has(&self, rule: Rule) -> bool {
        self.rules.contains(&rule)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }

    pub fn is_consistent(&self) -> bool {
        self.header(CONSISTENT) == Some("true")
    }

    /// The headers to store with the object.
    pub fn stored_headers(&self) -> Vec<(String, String)> {
        let stored =
            self.headers.iter().filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("x-amz-meta-"));
        stored.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }
}

impl Bucket {
    pub fn answer(&mut self, operation: &str, parts: &Parts, body: &Bytes, rules: &[Rule], now: SystemTime) -> Said {
        let path = percent_encoding::percent_decode_str(parts.uri.path());
        let path = path.decode_utf8().unwrap();
        let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let query = parts.uri.query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        let asked = Asked { key: key.to_owned(), query: query.collect(), headers: &parts.headers, body, rules, now };
        let writes = matches!(parts.method.as_str(), "PUT" | "POST");
        let said = if bucket != FakeS3::BUCKET {
            xml::error(404, "NoSuchBucket", "The specified bucket does not exist")
        } else if let Some(refusal) = refuse(&asked, writes, now) {
            refusal
        } else {
            self.carry_out(operation, &asked)
        };
        match (parts.method.as_str(), said) {
            // The answer to a HEAD has no body, so no code either.
            ("HEAD", (status @ 400.., _, _)) => xml::empty(status, Vec::new()),
            (_, said) => said,
        }
    }

    /// The object as this request's region sees it.
    pub fn look(&self, asked: &Asked<'_>, key: &str) -> Option<&Object> {
        let now = Instant::now();
        match self.before.get(key) {
            Some(before) if before.until > now && !(before.at_leader && asked.is_consistent()) => {
                before.object.as_ref()
            }
            _ => self.objects.get(key),
        }
    }

    /// The keys that this request's region sees, from this one on, in order.
    pub fn look_at_keys<'a>(&'a self, asked: &'a Asked<'_>, from: &str) -> impl Iterator<Item = &'a String> {
        let is_deleted = |key: &&String| key.as_str() >= from && !self.objects.contains_key(*key);
        let mut deleted: Vec<&String> = self.before.keys().filter(is_deleted).collect();
        deleted.sort_unstable();
        let mut deleted = deleted.into_iter().peekable();
        let range = (Bound::Included(from), Bound::Unbounded);
        let mut objects = self.objects.range::<str, _>(range).map(|(key, _)| key).peekable();
        let next = move || match (objects.peek(), deleted.peek()) {
            (Some(object), Some(other)) if other < object => deleted.next(),
            (Some(_), _) => objects.next(),
            (None, _) => deleted.next(),
        };
        std::iter::from_fn(next).filter(|key| self.look(asked, key).is_some())
    }

    /// Writes an object, or deletes it.
    pub fn change(&mut self, asked: &Asked<'_>, key: &str, object: Option<Object>) {
        let old = match object {
            Some(mut object) => {
                object.frozen |= asked.has(Rule::Freezes);
                object.modified = asked.now;
                self.objects.insert(key.to_owned(), object)
            }
            None => self.objects.remove(key),
        };
        let lag = asked.rules.iter().find_map(|rule| match rule {
            Rule::Lags(lag) => Some(*lag),
            _ => None,
        });
        let Some(lag) = lag else { return };
        let now = Instant::now();
        self.before.retain(|_, before| before.until > now);
        let before = self.before.entry(key.to_owned()).or_insert(Before { object: old, until: now, at_leader: true });
        before.until = now + lag;
        before.at_leader &= asked.is_consistent();
    }
}

/// Refuses a request for its headers, its credentials or its clock, before the operation runs.
fn refuse(asked: &Asked<'_>, writes: bool, now: SystemTime) -> Option<Said> {
    if writes && asked.has(Rule::NeedsContentLength) && asked.header("content-length").is_none() {
        return Some(xml::error(411, "MissingContentLength", ""));
    }
    let presigned = asked.query.contains_key("X-Amz-Signature");
    let authorization = asked.header("authorization");
    if presigned && authorization.is_some() && asked.has(Rule::RefusesAuthorization) {
        return Some(xml::error(400, "InvalidArgument", ""));
    }
    if !presigned && authorization.is_none() {
        return Some(xml::error(403, "AccessDenied", "Access Denied"));
    }
    let signed = asked.query.get("X-Amz-Date").map(String::as_str);
    let signed = amz_date(signed.or_else(|| asked.header("x-amz-date"))?)?;
    if presigned {
        let life = Duration::from_secs(asked.number("X-Amz-Expires")? as u64);
        return (now > signed + life && !asked.has(Rule::IgnoresExpiry))
            .then(|| xml::error(403, "AccessDenied", "Request has expired"));
    }
    let apart = now.duration_since(signed);
    let apart = apart.unwrap_or_else(|error| error.duration());
    let message = "The difference between the request time and the current time is too large.";
    (apart > MAX_SKEW).then(|| xml::error(403, "RequestTimeTooSkewed", message))
}

/// `20261128T120000Z`
fn amz_date(text: &str) -> Option<SystemTime> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        day.get(..4)?,
        day.get(4..6)?,
        day.get(6..)?,
        time.get(..2)?,
        time.get(2..4)?,
        time.get(4..)?
    );
    humantime::parse_rfc3339(&text).ok()
}

/// Quoted. Real ones are MD5, which no client relies on.
pub fn etag(bytes: &[u8]) -> String {
    let hash = const_hex::encode(Sha256::digest(bytes));
    format!("\"{}\"", &hash[..32])
}
