//! The store's operations on objects.

use std::collections::BTreeMap;

use axum::http::HeaderName;

use super::bucket::{Asked, Bucket, Object};
use super::xml::{document, element, empty, error, texts, time};
use super::{Rule, Said};

impl Bucket {
    pub fn carry_out(&mut self, operation: &str, asked: &Asked<'_>) -> Said {
        const WRITES: [&str; 6] = [
            "PutObject",
            "CopyObject",
            "CreateMultipartUpload",
            "UploadPart",
            "UploadPartCopy",
            "CompleteMultipartUpload",
        ];
        for rule in asked.rules {
            match (rule, operation) {
                (Rule::FullDisk(507), _) if WRITES.contains(&operation) => {
                    let message = "Storage backend has reached its minimum free drive threshold. Please \
                         delete a few objects to proceed.";
                    return error(507, "XMinioStorageFull", message);
                }
                (Rule::FullDisk(status), _) if WRITES.contains(&operation) => {
                    return error(*status, "InternalError", "We encountered an internal error.");
                }
                (Rule::NoUploadPartCopy, "UploadPartCopy") | (Rule::NoListParts, "ListParts") => {
                    return not_implemented();
                }
                (Rule::NoConditions, "PutObject")
                    if asked.header("if-match").or(asked.header("if-none-match")).is_some() =>
                {
                    return not_implemented();
                }
                (Rule::NeedsContentMd5, "DeleteObjects") if asked.header("content-md5").is_none() => {
                    let message = "Missing required header for this request: Content-Md5.";
                    return error(400, "MissingContentMD5", message);
                }
                _ => {}
            }
        }
        match operation {
            "HeadBucket" => empty(200, Vec::new()),
            "HeadObject" => self.head(asked),
            "GetObject" => self.get(asked),
            "PutObject" => self.put(asked),
            "CopyObject" => self.copy(asked),
            "DeleteObject" => self.delete(asked),
            "DeleteObjects" => self.delete_several(asked),
            "ListObjectsV2" => self.list(asked),
            "ListMultipartUploads" => self.list_uploads(asked),
            "CreateMultipartUpload" => self.create(asked),
            "GetBucketLifecycle" => {
                let message = "The lifecycle configuration does not exist";
                error(404, "NoSuchLifecycleConfiguration", message)
            }
            "UploadPart" | "UploadPartCopy" | "ListParts" | "CompleteMultipartUpload" | "AbortMultipartUpload" => {
                self.in_upload(operation, asked)
            }
            _ => not_implemented(),
        }
    }

    fn head(&self, asked: &Asked<'_>) -> Said {
        match self.look(asked, &asked.key) {
            None => no_such_key(),
            Some(object) => {
                let mut headers = about(object);
                headers.push(("content-length", object.bytes.len().to_string()));
                empty(200, headers)
            }
        }
    }

    fn get(&self, asked: &Asked<'_>) -> Said {
        let Some(object) = self.look(asked, &asked.key) else {
            return no_such_key();
        };
        if object.frozen {
            return invalid_state();
        }
        if asked.header("if-none-match") == Some(&object.etag) {
            return empty(304, about(object));
        }
        if let Some(etag) = asked.header("if-match")
            && etag != object.etag
        {
            return unmet();
        }
        let mut headers = about(object);
        let size = object.bytes.len();
        match asked.header("range").map_or(Range::Whole, |text| range_of(text, size)) {
            Range::Whole => (200, headers, object.bytes.clone()),
            Range::Nothing => {
                let message = "The requested range is not satisfiable";
                error(416, "InvalidRange", message)
            }
            Range::Part(start, end) => {
                let part = format!("bytes {start}-{}/{size}", end - 1);
                headers.push(("content-range", part));
                (206, headers, object.bytes.slice(start..end))
            }
        }
    }

    fn put(&mut self, asked: &Asked<'_>) -> Said {
        if let Some(refusal) = self.condition(asked) {
            return refusal;
        }
        let object = Object::new(asked.body.clone(), asked.stored_headers());
        let headers = vec![("etag", object.etag.clone())];
        self.change(asked, &asked.key, Some(object));
        empty(200, headers)
    }

    /// Checks the condition of a PUT or a DELETE.
    fn condition(&self, asked: &Asked<'_>) -> Option<Said> {
        if asked.has(Rule::IgnoresConditions) {
            return None;
        }
        let there = self.objects.get(&asked.key);
        if asked.header("if-none-match") == Some("*") && there.is_some() {
            return Some(unmet());
        }
        let etag = asked.header("if-match")?;
        match there {
            None => Some(no_such_key()),
            Some(object) if etag != "*" && etag.trim_matches('"') != object.etag.trim_matches('"') => Some(unmet()),
            Some(_) => None,
        }
    }

    /// The source object of a copy, or an error.
    pub fn source(&self, asked: &Asked<'_>) -> Result<(String, Object), Said> {
        let source = asked.header("x-amz-copy-source").unwrap_or_default();
        let source = percent_encoding::percent_decode_str(source);
        let source = source.decode_utf8().unwrap();
        let key = source.trim_start_matches('/').split_once('/');
        let key = key.map_or("", |(_, key)| key);
        match self.look(asked, key) {
            None => Err(no_such_key()),
            Some(object) if object.frozen => Err(invalid_state()),
            Some(object)
                if !asked.has(Rule::IgnoresConditions)
                    && asked.header("x-amz-copy-source-if-match").is_some_and(|etag| etag != object.etag) =>
            {
                Err(unmet())
            }
            Some(object) => Ok((key.to_owned(), object.clone())),
        }
    }

    fn copy(&mut self, asked: &Asked<'_>) -> Said {
        let (from, mut object) = match self.source(asked) {
            Ok(found) => found,
            Err(said) => return said,
        };
        object.modified = asked.now;
        if asked.header("x-amz-metadata-directive") == Some("REPLACE") {
            object.headers = asked.stored_headers();
        }
        let result = element("ETag", &object.etag) + &element("LastModified", time(object.modified));
        self.change(asked, &asked.key, Some(object));
        if asked.header("x-tigris-rename") == Some("true") {
            self.change(asked, &from, None);
        }
        document(&format!("<CopyObjectResult>{result}</CopyObjectResult>"))
    }

    fn delete(&mut self, asked: &Asked<'_>) -> Said {
        let condition = self.condition(asked);
        if let Some(refusal) = condition.filter(|_| !asked.has(Rule::IgnoresConditionsOfDeletes)) {
            return refusal;
        }
        self.change(asked, &asked.key, None);
        empty(204, Vec::new())
    }

    fn delete_several(&mut self, asked: &Asked<'_>) -> Said {
        for key in texts(std::str::from_utf8(asked.body).unwrap(), "Key") {
            self.change(asked, &key, None);
        }
        document("<DeleteResult></DeleteResult>")
    }

    fn list(&self, asked: &Asked<'_>) -> Said {
        let mut delimiter = asked.query("delimiter");
        if !delimiter.is_empty() && asked.has(Rule::NoDelimiter) {
            return not_implemented();
        }
        if asked.has(Rule::IgnoresDelimiter) {
            delimiter = "";
        }
        let prefix = asked.query("prefix");
        let is_encoded = asked.query("encoding-type") == "url";
        let after = asked.query("start-after").max(asked.query("continuation-token"));
        let most = asked.number("max-keys").unwrap_or(1000).min(1000);
        // The listed entries, by key or common prefix.
        let mut listed = BTreeMap::new();
        for key in self.look_at_keys(asked, prefix.max(after)) {
            let Some(rest) = key.strip_prefix(prefix).filter(|_| listed.len() <= most) else {
                break;
            };
            let common = match delimiter {
                "" => None,
                delimiter => rest.find(delimiter).map(|at| at + delimiter.len()),
            };
            let name = common.map_or(&key[..], |end| &key[..prefix.len() + end]);
            if name <= after {
                continue;
            }
            let entry = if common.is_some() {
                format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", name))
            } else {
                let object = self.look(asked, key);
                contents(key, is_encoded, object.unwrap_or_else(|| &self.objects[key]))
            };
            listed.insert(name.to_owned(), entry);
        }
        let more = listed.len() > most;
        let mut body = element("Name", super::FakeS3::BUCKET) + &element("Prefix", prefix);
        body += &element("KeyCount", listed.len().min(most));
        body += &element("IsTruncated", more);
        if is_encoded {
            body += &element("EncodingType", "url");
        }
        let page: Vec<_> = listed.iter().take(most).collect();
        if let Some((last, _)) = page.last().filter(|_| more) {
            body += &element("NextContinuationToken", last);
        }
        body.extend(page.into_iter().map(|(_, entry)| entry.as_str()));
        document(&format!("<ListBucketResult>{body}</ListBucketResult>"))
    }
}

/// The headers that describe an object.
fn about(object: &Object) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("etag", object.etag.clone()),
        ("last-modified", httpdate::fmt_http_date(object.modified)),
        ("accept-ranges", "bytes".into()),
    ];
    if object.frozen {
        headers.push(("x-amz-storage-class", "GLACIER".into()));
    }
    for (name, value) in &object.headers {
        headers.push((header_name(name), value.clone()));
    }
    headers
}

/// Leaks the name: tests are short, and their headers few.
fn header_name(name: &str) -> &'static str {
    debug_assert!(HeaderName::try_from(name).is_ok());
    String::leak(name.to_owned())
}

fn contents(key: &str, is_encoded: bool, object: &Object) -> String {
    let class = if object.frozen { "GLACIER" } else { "STANDARD" };
    let fields = [
        element("Key", listed_key(key, is_encoded)),
        element("LastModified", time(object.modified)),
        element("ETag", &object.etag),
        element("Size", object.bytes.len()),
        element("StorageClass", class),
    ];
    format!("<Contents>{}</Contents>", fields.concat())
}

/// A key as a list has it. Without an encoding, what XML does not have is replaced, as Go's servers do.
fn listed_key(key: &str, is_encoded: bool) -> String {
    if is_encoded {
        let encoded = url::form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
        return encoded.replace("%2F", "/");
    }
    key.replace(|c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r'), "\u{fffd}")
}

/// A parsed `Range`.
pub enum Range {
    /// Invalid, or several ranges.
    Whole,
    /// Outside the object.
    Nothing,
    /// From the first offset to before the second.
    Part(usize, usize),
}

/// The range within an object of this size.
pub fn range_of(text: &str, size: usize) -> Range {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let pair = text.strip_prefix("bytes=");
    let Some((first, last)) = pair.and_then(|pair| pair.split_once('-')) else {
        return Range::Whole;
    };
    let (start, end) = match (number(first), number(last)) {
        (None, Some(last)) if first.is_empty() => (size - last.min(size), size),
        (Some(first), None) if last.is_empty() => (first, size),
        (Some(first), Some(last)) if first <= last => (first, size.min(last.saturating_add(1))),
        _ => return Range::Whole,
    };
    if start < end { Range::Part(start, end) } else { Range::Nothing }
}

fn no_such_key() -> Said {
    error(404, "NoSuchKey", "The specified key does not exist.")
}

fn invalid_state() -> Said {
    let message = "The operation is not valid for the object's storage class";
    error(403, "InvalidObjectState", message)
}

fn unmet() -> Said {
    let message = "At least one of the pre-conditions you specified did not hold";
    error(412, "PreconditionFailed", message)
}

fn not_implemented() -> Said {
    let message = "A header you provided implies functionality that is not implemented";
    error(501, "NotImplemented", message)
}
