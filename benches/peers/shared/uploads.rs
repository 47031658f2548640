//! Multipart uploads of the S3 in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::bucket::Asked;
use super::objects::{Content, Object, is, piece, text};
use super::sparse::Sparse;
use crate::support::Said;
use crate::support::xml::{document, element, empty, error, texts, time};

/// The most parts of a page.
const PAGE: usize = 1000;

pub(super) struct Upload {
    pub(super) key: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) begun: SystemTime,
    pub(super) parts: BTreeMap<u32, Arc<Sparse>>,
}

impl Content {
    pub(super) fn create(&mut self, asked: &Asked) -> Said {
        self.begun += 1;
        let id = format!("upload-{:06}", self.begun);
        let (key, headers, parts) = (asked.key.clone(), asked.stored(), BTreeMap::new());
        self.uploads.insert(id.clone(), Upload { key, headers, begun: SystemTime::now(), parts });
        let body = element("Key", &asked.key) + &element("UploadId", id);
        document(&format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"))
    }

    pub(super) fn in_upload(&mut self, named: &str, asked: &Asked, received: Sparse) -> Said {
        let copied = if named == "UploadPartCopy" { Some(self.source(asked)) } else { None };
        let id = asked.query("uploadId");
        let Some(upload) = self.uploads.get_mut(id).filter(|it| it.key == asked.key) else {
            return error(404, "NoSuchUpload", "The specified upload does not exist.");
        };
        let number = asked.query("partNumber").parse().unwrap_or_default();
        match (named, copied) {
            (_, Some(Err(said))) => said,
            (_, Some(Ok((parts, _)))) => {
                let range =
                    asked.header("x-amz-copy-source-range").and_then(|it| it.strip_prefix("bytes=")?.split_once('-'));
                let range = range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1)));
                let part = copy(&parts, range);
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

    pub(super) fn complete(&mut self, asked: &Asked, body: &str) -> Said {
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

    pub(super) fn list_uploads(&self, asked: &Asked) -> Said {
        let mut body = element("IsTruncated", false);
        for (id, upload) in self.uploads.iter().filter(|(_, it)| it.key.starts_with(asked.query("prefix"))) {
            let fields =
                [element("Key", &upload.key), element("UploadId", id), element("Initiated", time(upload.begun))];
            body = format!("{body}<Upload>{}</Upload>", fields.concat());
        }
        document(&format!("<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"))
    }
}

/// The bytes of a range of a source, which several parts hold together; all of them without a range.
fn copy(parts: &[Arc<Sparse>], range: Option<(u64, u64)>) -> Arc<Sparse> {
    if let ([whole], None) = (parts, range) {
        return Arc::clone(whole);
    }
    let (mut at, end) = range.unwrap_or((0, parts.iter().map(|part| part.len()).sum()));
    let mut copied = Sparse::default();
    while let Some(piece) = piece(parts, at, end) {
        at += piece.len() as u64;
        copied.extend(&piece);
    }
    copied.finish();
    Arc::new(copied)
}
