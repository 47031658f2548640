//! Multipart uploads, and moving an object to another key by a rename or a copy.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::store::{Key, Multipart, Part, PartSource, StoreError};

/// The smallest part that is not the last one, in bytes.
const MIN_PART: u64 = 5 << 20;

/// The consequence: a blob of more than some MiB needs several parts.
const CONSEQUENCE: &str = "large blobs can be neither pushed nor pulled through";

/// The result of an upload.
enum Sent {
    Done,
    Forgotten,
    /// The bucket lists other parts than were sent.
    OtherParts,
}

pub(super) async fn check(probe: &Probe<'_>, report: &mut Report) {
    let (from, to) = (Key::Check(&probe.second), Key::Check(&probe.first));
    let size = MIN_PART + probe.bytes.len() as u64;
    match send(probe, from).await {
        Ok((Sent::Done, listed)) => {
            report.passed("multipart", "an upload in parts was completed");
            report_list(probe, report, listed);
            list_uploads(probe, report).await;
        }
        Ok((Sent::Forgotten, _)) => {
            return probe.differs(report, "multipart", "the bucket forgot the upload", CONSEQUENCE);
        }
        Ok((Sent::OtherParts, _)) => {
            let why = "the bucket has other parts than were sent";
            return probe.differs(report, "multipart", why, CONSEQUENCE);
        }
        Err(error) => return probe.failed(report, "multipart", &error, CONSEQUENCE),
    }
    let (how, consequence) = if probe.store.renames() {
        ("rename", "pushes in chunks fail; set storage.s3.tigris: false")
    } else {
        ("copy", "pushes in chunks fail")
    };
    match probe.store.relocate(from, to, MIN_PART).await {
        Ok(true) => report.passed(how, "it was moved to another key"),
        Ok(false) => {
            return probe.differs(report, how, "the bucket does not find what it has", consequence);
        }
        Err(error) => return probe.failed(report, how, &error, consequence),
    }
    if !probe.store.renames() {
        copy_in_parts(probe, to, from, size, report).await;
    }
}

/// Sends two parts, of which the first is large.
async fn send(probe: &Probe<'_>, key: Key<'_>) -> Result<(Sent, Result<(), StoreError>), StoreError> {
    let upload = probe.store.begin(key).await?;
    let sent = send_parts(probe, &upload).await;
    if !matches!(sent, Ok((Sent::Done, _)))
        && let Err(error) = upload.abort().await
    {
        tracing::debug!(%error, "check: an upload could not be aborted");
    }
    sent
}

async fn send_parts(probe: &Probe<'_>, upload: &Multipart) -> Result<(Sent, Result<(), StoreError>), StoreError> {
    let large: Bytes = probe.bytes.iter().copied().cycle().take(5 << 20).collect();
    let mut parts: Vec<Part> = Vec::new();
    for (number, bytes) in (1..).zip([large, probe.bytes.clone()]) {
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

fn report_list(probe: &Probe<'_>, report: &mut Report, listed: Result<(), StoreError>) {
    match listed {
        Ok(()) => report.passed("list of parts", "the bucket tells which parts it has"),
        Err(error) => probe.failed(report, "list of parts", &error, "pushes in chunks fail"),
    }
}

/// Aborts nothing, because no upload is that old.
async fn list_uploads(probe: &Probe<'_>, report: &mut Report) {
    let name = "list of uploads";
    let listed = probe.store.abort_uploads_before(Key::Root, UNIX_EPOCH, true);
    match listed.await {
        Ok(_) => report.passed(name, "uploads that are abandoned can be found"),
        Err(error) => {
            let consequence = "uploads that are abandoned stay in the bucket, and are paid for";
            probe.failed(report, name, &error, consequence);
        }
    }
}

async fn copy_in_parts(probe: &Probe<'_>, from: Key<'_>, to: Key<'_>, size: u64, report: &mut Report) {
    let threshold = probe.config.storage.s3.multipartcopythresholdsize >> 20;
    let consequence = format!(
        "blobs of more than {threshold} MiB that are pushed in chunks are not stored; \
         storage.s3.multipartcopythresholdsize: 5368709120 avoids it up to 5 GiB"
    );
    let name = "copy in parts";
    match probe.store.copy_in_parts(from, to, size, MIN_PART).await {
        Ok(true) => report.passed(name, "a large part was made of another object"),
        Ok(false) => probe.differs(report, name, "the bucket does not find what it has", &consequence),
        Err(error) => probe.failed(report, name, &error, &consequence),
    }
}
