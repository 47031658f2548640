//! The store's multipart uploads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;

use super::bucket::{Asked, Bucket, Object, Upload, etag};
use super::operations::{Range, range_of};
use super::xml::{document, element, empty, error, texts, time};
use super::{Rule, Said};

/// The smallest part that is not the last.
const MIN_PART: usize = 5 << 20;

impl Bucket {
    pub fn list_uploads(&self, asked: &Asked<'_>) -> Said {
        let prefix = asked.query("prefix");
        let marker = (asked.query("key-marker"), asked.query("upload-id-marker"));
        let most = asked.number("max-uploads").unwrap_or(1000).min(1000);
        let mut fitting: Vec<_> = self.uploads.iter().collect();
        fitting.retain(|(id, upload)| upload.key.starts_with(prefix) && (&upload.key[..], &id[..]) > marker);
        fitting.sort_by_key(|(id, upload)| (upload.key.clone(), (*id).clone()));
        let mut body = element("IsTruncated", fitting.len() > most);
        fitting.truncate(most);
        if let Some((id, upload)) = fitting.last() {
            body += &element("NextKeyMarker", &upload.key);
            body += &element("NextUploadIdMarker", id);
        }
        for (id, upload) in fitting {
            let fields =
                [element("Key", &upload.key), element("UploadId", id), element("Initiated", time(upload.begun))];
            write!(body, "<Upload>{}</Upload>", fields.concat()).unwrap();
        }
        document(&format!("<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"))
    }

    pub fn create(&mut self, asked: &Asked<'_>) -> Said {
        self.begun += 1;
        let id = format!("upload-{:06}", self.begun);
        let upload = Upload {
            key: asked.key.clone(),
            headers: asked.stored_headers(),
            begun: SystemTime::now(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        let body = element("Key", &asked.key) + &element("UploadId", id);
        document(&format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"))
    }

    pub fn in_upload(&mut self, operation: &str, asked: &Asked<'_>) -> Said {
        let id = asked.query("uploadId");
        let copied = match operation {
            "UploadPartCopy" => Some(self.source(asked)),
            _ => None,
        };
        let Some(upload) = self.uploads.get_mut(id).filter(|it| it.key == asked.key) else {
            return error(404, "NoSuchUpload", "The specified upload does not exist.");
        };
        let number = asked.number("partNumber").unwrap_or_default();
        let number = u32::try_from(number).unwrap();
        match operation {
            "UploadPart" => {
                upload.parts.insert(number, asked.body.clone());
                empty(200, vec![("etag", etag(asked.body))])
            }
            "UploadPartCopy" => match copied.unwrap() {
                Err(said) => said,
                Ok((_, object)) => {
                    let text = asked.header("x-amz-copy-source-range").unwrap_or("bytes=0-");
                    let Range::Part(start, end) = range_of(text, object.bytes.len()) else {
                        return error(400, "InvalidArgument", "The range is not valid.");
                    };
                    let bytes = object.bytes.slice(start..end);
                    let result = element("ETag", etag(&bytes));
                    upload.parts.insert(number, bytes);
                    document(&format!("<CopyPartResult>{result}</CopyPartResult>"))
                }
            },
            "ListParts" => list_parts(upload, asked),
            "CompleteMultipartUpload" => self.complete(asked),
            _ => {
                self.uploads.remove(id);
                empty(204, Vec::new())
            }
        }
    }

    fn complete(&mut self, asked: &Asked<'_>) -> Said {
        let id = asked.query("uploadId");
        let upload = &self.uploads[id];
        let body = std::str::from_utf8(asked.body).unwrap();
        let (mut parts, mut last) = (Vec::new(), 0);
        for part in texts(body, "Part") {
            let number: u32 = texts(&part, "PartNumber")[0].parse().unwrap();
            let named = texts(&part, "ETag").pop().unwrap_or_default();
            if number <= last {
                return error(400, "InvalidPartOrder", "The parts are not in ascending order.");
            }
            last = number;
            let taken = upload.parts.get(&number);
            let taken = taken.filter(|it| etag(it).trim_matches('"') == named.trim_matches('"'));
            let Some(bytes) = taken else {
                let message = "One or more of the specified parts could not be found. The part \
                               may not have been uploaded, or the specified entity tag may not \
                               match the part's entity tag.";
                return error(400, "InvalidPart", message);
            };
            parts.push(bytes.clone());
        }
        let sizes: Vec<_> = parts.iter().map(Bytes::len).collect();
        let Some((trailing, others)) = sizes.split_last() else {
            return error(400, "MalformedXML", "There are no parts.");
        };
        if !asked.has(Rule::SmallParts) && others.iter().any(|size| *size < MIN_PART) {
            let message = "Your proposed upload is smaller than the minimum allowed size";
            return error(400, "EntityTooSmall", message);
        }
        let unequal = |first: &usize| others.iter().any(|it| it != first) || trailing > first;
        if asked.has(Rule::EqualParts) && others.first().is_some_and(unequal) {
            let message = "All non-trailing parts must have the same length.";
            return error(400, "InvalidPart", message);
        }
        let mut object = Object::new(parts.concat().into(), upload.headers.clone());
        object.etag = format!("{}-{}\"", object.etag.trim_end_matches('"'), sizes.len());
        let body = element("Key", &asked.key) + &element("ETag", &object.etag);
        self.completed.push(sizes);
        self.uploads.remove(id);
        self.change(asked, &asked.key, Some(object));
        document(&format!("<CompleteMultipartUploadResult>{body}</CompleteMultipartUploadResult>"))
    }
}

fn list_parts(upload: &Upload, asked: &Asked<'_>) -> Said {
    let after = asked.number("part-number-marker").unwrap_or_default();
    let most = asked.number("max-parts").unwrap_or(1000).min(1000);
    let mut fitting: Vec<_> = upload.parts.iter().collect();
    fitting.retain(|(number, _)| **number as usize > after);
    let mut body = element("IsTruncated", fitting.len() > most);
    fitting.truncate(most);
    if let Some((number, _)) = fitting.last() {
        body += &element("NextPartNumberMarker", number);
    }
    for (number, bytes) in fitting {
        let fields = [element("PartNumber", number), element("ETag", etag(bytes)), element("Size", bytes.len())];
        write!(body, "<Part>{}</Part>", fields.concat()).unwrap();
    }
    document(&format!("<ListPartsResult>{body}</ListPartsResult>"))
}
