//! The setting and the next step for the errors of the bucket.

use crate::config::{Config, Driver};

/// By the error codes of S3 (API reference, "Error responses"), or for a folder by the system's messages.
pub(super) fn of(config: &Config, why: &str) -> (&'static str, String) {
    let says = |codes: &[&str]| codes.iter().any(|code| why.contains(code));
    if config.storage.driver == Driver::Filesystem {
        let folder = config.storage.filesystem.rootdirectory.display();
        let next = if says(&["No space left", "Read-only file system", "quota", "FolderUnwritable", "takes no writes"])
        {
            format!("make room on the disk of {folder}, or mount it writable")
        } else {
            format!("check storage.filesystem.rootdirectory: pounce must be able to write to {folder}")
        };
        return ("storage.filesystem.rootdirectory", next);
    }
    let (setting, next) = if says(&["there are no credentials"]) {
        (KEYS, "set accesskey and secretkey, or the two variables; a role of this machine does as well")
    } else if says(&["storage.s3.region:"]) {
        ("storage.s3.region", "set storage.s3.region to the region of the bucket")
    } else if says(&["Connection refused", "dns error", "timed out", "timeout"]) {
        (ENDPOINT, REACH)
    } else if says(&["by NTP", "clock", "RequestTimeTooSkewed"]) {
        ("storage.s3", "set this machine's clock, by NTP")
    } else if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch"]) {
        (KEYS, "check storage.s3.accesskey and secretkey")
    } else if says(&["NoSuchBucket", "no bucket"]) {
        ("storage.s3.bucket", "check storage.s3.bucket, region and regionendpoint")
    } else if says(&["takes no writes"]) {
        ("storage.s3.bucket", "make room in the bucket, or raise its quota")
    } else if says(&["NotImplemented", "not implemented"]) {
        (ENDPOINT, "use another S3, or do without: this one lacks what pounce needs")
    } else if says(&["InvalidObjectState"]) {
        ("storage.s3.storageclass", "change storage.s3.storageclass, or the lifecycle that archives objects")
    } else if says(&["AccessDenied", "refused", "Forbidden", "403"]) {
        (KEYS, "check the keys, and that they may read, write, list and delete in this bucket (an Editor, at Tigris)")
    } else if says(&["it answered"]) {
        (ENDPOINT, "use another S3: this one does not do what pounce needs of it")
    } else {
        (ENDPOINT, REACH)
    };
    (setting, next.to_owned())
}

const KEYS: &str = "storage.s3.accesskey";
const ENDPOINT: &str = "storage.s3.regionendpoint";
const REACH: &str = "check storage.s3.regionendpoint, and that this machine reaches it";
