//! Advice for the errors of the bucket.

use crate::config::{Config, Driver};

/// By the error codes of S3 (API reference, "Error responses"), or for a folder by the system's messages.
pub(super) fn of(config: &Config, why: &str) -> String {
    let says = |codes: &[&str]| codes.iter().any(|code| why.contains(code));
    if config.storage.driver == Driver::Filesystem {
        let folder = config.storage.filesystem.rootdirectory.display();
        return if says(&["No space left", "Read-only file system", "quota", "FolderUnwritable", "takes no writes"]) {
            format!("make room on the disk of {folder}, or mount it writable")
        } else {
            format!("check storage.filesystem.rootdirectory: pounce must be able to write to {folder}")
        };
    }
    let advice = if says(&["there are no credentials"]) {
        "A role of this machine does as well"
    } else if says(&["by NTP", "storage.s3.region:"]) {
        ""
    } else if says(&["Connection refused", "dns error", "timed out", "timeout"]) {
        REACH
    } else if says(&["clock", "RequestTimeTooSkewed"]) {
        "set this machine's clock, by NTP"
    } else if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch"]) {
        "check storage.s3.accesskey and secretkey"
    } else if says(&["NoSuchBucket", "no bucket"]) {
        "check storage.s3.bucket, region and regionendpoint"
    } else if says(&["takes no writes"]) {
        "make room in the bucket, or raise its quota"
    } else if says(&["NotImplemented", "not implemented"]) {
        "this S3 lacks what pounce needs"
    } else if says(&["InvalidObjectState"]) {
        "storage.s3.storageclass, or a lifecycle, puts objects where they cannot be read"
    } else if says(&["AccessDenied", "refused", "Forbidden", "403"]) {
        "check the keys, and that they may read, write, list and delete in this bucket (an Editor, at Tigris)"
    } else if says(&["it answered"]) {
        "this S3 does not do what pounce needs of it"
    } else {
        REACH
    };
    advice.to_owned()
}

const REACH: &str = "check storage.s3.regionendpoint, and that this machine reaches it";
