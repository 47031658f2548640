//! Uploads in parts, and how they get to their place: by a rename, or by copies.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Trial;
use crate::cli::check::report::Report;
use crate::store::{Key, Multipart, Part, PartSource, StoreError};

/// The smallest that a part may be which is not the last one, in bytes.
const LARGE: u64 = 5 << 20;

/// Without these, no blob of more than some MiB can be stored.
const LOST: &str = "large blobs can be neither pushed nor pulled through";

/// What came of an upload.
enum Sent {
    Done,
    Forgotten,
    /// It has other parts than were sent.
    OtherParts,
}

impl Trial<'_> {
    pub(super) async fn multipart(&self, report: &mut Report) {
        let (from, to) = (Key::Check(&self.second), Key::Check(&self.first));
        let size = LARGE + self.bytes.len() as u64;
        match self.send(from).await {
            Ok((Sent::Done, listed)) => {
                report.right("multipart", "an upload in parts was completed");
                self.listed(report, listed);
                self.list_uploads(report).await;
            }
            Ok((Sent::Forgotten, _)) => {
                return report.wrong("multipart", "the bucket forgot the upload", LOST);
            }
            Ok((Sent::OtherParts, _)) => {
                let why = "the bucket has other parts than were sent";
                return report.wrong("multipart", why, LOST);
            }
            Err(error) => return self.failed(report, "multipart", &error, LOST),
        }
        let (how, lost) = if self.store.renames() {
            ("rename", "pushes in chunks fail; set storage.s3.tigris: false")
        } else {
            ("copy", "pushes in chunks fail")
        };
        match self.store.relocate(from, to, LARGE).await {
            Ok(true) => report.right(how, "it was moved to another key"),
            Ok(false) => {
                return report.wrong(how, "the bucket does not find what it has", lost);
            }
            Err(error) => return self.failed(report, how, &error, lost),
        }
        if !self.store.renames() {
            self.copy_in_parts(to, from, size, report).await;
        }
    }

    /// Two parts, of which the first is large.
    async fn send(&self, key: Key<'_>) -> Result<(Sent, Result<(), StoreError>), StoreError> {
        let upload = self.store.begin(key).await?;
        let sent = self.send_parts(&upload).await;
        if !matches!(sent, Ok((Sent::Done, _)))
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an upload was left over in the bucket");
        }
        sent
    }

    async fn send_parts(&self, upload: &Multipart) -> Result<(Sent, Result<(), StoreError>), StoreError> {
        let large: Bytes = self.bytes.iter().copied().cycle().take(5 << 20).collect();
        let mut parts: Vec<Part> = Vec::new();
        for (number, bytes) in (1..).zip([large, self.bytes.clone()]) {
            let len = bytes.len() as u64;
            let source: PartSource = Arc::new(move || {
                let piece = Ok(bytes.clone());
                stream::iter([piece]).boxed()
            });
            match upload.part(number, len, source).await? {
                Some(part) => parts.push(part),
                None => return Ok((Sent::Forgotten, Ok(()))),
            }
        }
        let listed = match upload.parts(0, 10).await {
            Ok(Some(listed)) if listed == parts => Ok(()),
            Ok(Some(_)) => return Ok((Sent::OtherParts, Ok(()))),
            Ok(None) => return Ok((Sent::Forgotten, Ok(()))),
            Err(error) => Err(error),
        };
        upload.complete(parts).await?;
        Ok((Sent::Done, listed))
    }

    fn listed(&self, report: &mut Report, listed: Result<(), StoreError>) {
        match listed {
            Ok(()) => report.right("list of parts", "the bucket tells which parts it has"),
            Err(error) => self.failed(report, "list of parts", &error, "pushes in chunks fail"),
        }
    }

    /// Nothing is aborted: no upload is that old.
    async fn list_uploads(&self, report: &mut Report) {
        let name = "list of uploads";
        let listed = self.store.abort_uploads_before(Key::Root, UNIX_EPOCH, true);
        match listed.await {
            Ok(_) => report.right(name, "uploads that are abandoned can be found"),
            Err(error) => {
                let lost = "uploads that are abandoned stay in the bucket, and are paid for";
                self.failed(report, name, &error, lost);
            }
        }
    }

    async fn copy_in_parts(&self, from: Key<'_>, to: Key<'_>, size: u64, report: &mut Report) {
        let threshold = self.config.storage.s3.multipartcopythresholdsize >> 20;
        let lost = format!(
            "blobs of more than {threshold} MiB that are pushed in chunks are not stored; \
             storage.s3.multipartcopythresholdsize: 5368709120 avoids it up to 5 GiB"
        );
        let name = "copy in parts";
        match self.store.copy_in_parts(from, to, size, LARGE).await {
            Ok(true) => report.right(name, "a large part was made of another object"),
            Ok(false) => report.wrong(name, "the bucket does not find what it has", &lost),
            Err(error) => self.failed(report, name, &error, &lost),
        }
    }
}
