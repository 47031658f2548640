//! What the registry does with its bucket, tried once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use url::Url;
use uuid::Uuid;

use super::report::Report;
use crate::config::{Config, Driver};
use crate::oci::MediaType;
use crate::store::{Condition, Key, Metadata, PartSource, Store, StoreError};
use crate::telemetry::causes;
use crate::upstream::{UpstreamError, visit};

/// What is written to the bucket, in bytes.
const SIZE: usize = 64 << 10;
/// How far clocks may be apart before it is worth saying; S3 refuses what is signed 15 minutes off.
const SKEW: Duration = Duration::from_mins(1);

/// One after the other.
pub(super) async fn check(config: &Config, report: &mut Report) {
    let addr = config.http.addr.to_reach();
    let store = match Store::connect_beside(&config.storage, &addr).await {
        Ok(store) => store,
        Err(error) => {
            let why = causes(&error);
            let advice = match config.storage.driver {
                Driver::S3 => advice(&why),
                Driver::Filesystem => {
                    "check storage.filesystem.rootdirectory: pounce must be able to write there"
                }
            };
            return report.wrong("bucket", &why, advice);
        }
    };
    report.right("bucket", "it is there, and the credentials are accepted");
    let trial = Trial {
        store,
        first: Uuid::new_v4(),
        second: Uuid::new_v4(),
        bytes: (0..=u8::MAX).cycle().take(SIZE).collect(),
    };
    if trial.write_and_read(report).await {
        trial.presigned(&addr, report).await;
    }
    trial.multipart(report).await;
    trial.condition(report).await;
    trial.delete(report).await;
}

/// Two objects of `pounce check`'s own.
struct Trial {
    store: Store,
    first: Uuid,
    second: Uuid,
    bytes: Bytes,
}

impl Trial {
    async fn write_and_read(&self, report: &mut Report) -> bool {
        let key = Key::Check(&self.first);
        let (bytes, none) = (self.bytes.clone(), Metadata::new());
        let kind = &MediaType::OCTET_STREAM;
        let written = self.store.put(key, bytes, kind, &none, Condition::Always);
        match written.await {
            Ok(_) => report.right("write", "an object was written"),
            Err(error) => {
                let why = causes(&error);
                report.wrong("write", &why, advice(&why));
                return false;
            }
        }
        match self.store.get(key).await {
            Ok(Some(object)) if object.bytes == self.bytes => {
                report.right("read", "it was read back");
                true
            }
            Ok(_) => {
                let advice =
                    "whatever stands between pounce and the bucket must not change objects";
                report.wrong("read", "what came back is not what was written", advice);
                false
            }
            Err(error) => {
                let why = causes(&error);
                report.wrong("read", &why, advice(&why));
                false
            }
        }
    }

    /// What clients are sent to. A folder that nobody serves has nowhere to send them.
    async fn presigned(&self, addr: &str, report: &mut Report) {
        if self.store.embedded().is_some() {
            return report.right(
                "presigned GET",
                "not tried: pounce itself serves the folder",
            );
        }
        let base = Url::parse(&format!("http://{addr}/"));
        let Ok(base) = base.or_else(|_| Url::parse("http://localhost/")) else {
            return;
        };
        let presigned = self.store.presign(Key::Check(&self.first), &base).await;
        let url = presigned
            .map_err(|error| causes(&error))
            .and_then(|url| Url::parse(&url).map_err(|error| error.to_string()));
        let url = match url {
            Ok(url) => url,
            Err(why) => return report.wrong("presigned GET", &why, advice(&why)),
        };
        let cases = [
            ("presigned GET", None, 200, &self.bytes[..]),
            (
                "presigned Range",
                Some("bytes=16-31"),
                206,
                &self.bytes[16..32],
            ),
        ];
        let mut date = None;
        for (name, range, status, expected) in cases {
            match visit(&url, range).await {
                Ok(seen) if seen.status == status && seen.bytes == expected => {
                    date = seen.date.or(date);
                    report.right(name, "a client gets it without credentials");
                }
                Ok(seen) => {
                    date = seen.date.or(date);
                    let why = format!("it answered {} instead of {status}", seen.status);
                    let advice = "check storage.s3.redirectendpoint, and that the bucket's key may read; or set \
                                  storage.redirect.disable";
                    report.wrong(name, &why, advice);
                }
                Err(error) => {
                    let advice = "clients that cannot reach the bucket either need storage.redirect.disable, or to \
                                  be in storage.redirect.exclude";
                    let why = match &error {
                        UpstreamError::Unavailable(cause) => cause.clone(),
                        error => causes(error),
                    };
                    report.wrong(name, &why, advice);
                }
            }
        }
        if let Some(date) = date {
            clock(date, report);
        }
    }

    async fn multipart(&self, report: &mut Report) {
        let (from, to) = (Key::Check(&self.second), Key::Check(&self.first));
        let size = self.bytes.len() as u64;
        let sent = async {
            let upload = self.store.begin(from).await?;
            let bytes = self.bytes.clone();
            let source: PartSource = Arc::new(move || {
                let piece = Ok(bytes.clone());
                stream::iter([piece]).boxed()
            });
            match upload.part(1, size, source).await? {
                Some(part) => upload.complete(vec![part]).await.map(|()| true),
                None => Ok(false),
            }
        };
        match sent.await {
            Ok(true) => report.right("multipart", "an upload in parts was completed"),
            Ok(false) => {
                return report.wrong("multipart", "the bucket forgot the upload", advice(""));
            }
            Err(error) => {
                let why = causes(&error);
                return report.wrong("multipart", &why, advice(&why));
            }
        }
        let how = if self.store.renames() {
            "rename"
        } else {
            "copy"
        };
        match self.store.relocate(from, to, size).await {
            Ok(true) => report.right(how, "it was moved to another key"),
            Ok(false) => report.wrong(how, "the bucket does not find what it has", advice("")),
            Err(error) => {
                let why = causes(&error);
                report.wrong(how, &why, advice(&why));
            }
        }
    }

    /// A delete of a manifest takes a tag only if nobody has moved it meanwhile.
    async fn condition(&self, report: &mut Report) {
        let (key, name) = (Key::Check(&self.first), "conditional delete");
        let tried = async {
            // That it could not be written was said already.
            let Some(object) = self.store.get_now(key).await? else {
                return Ok(true);
            };
            let mut other = object.clone();
            other.etag = Some(format!("\"{}\"", "0".repeat(32)));
            if self.store.delete_unchanged(key, &other).await? {
                let how = "the bucket does not know it: a tag that is pushed while what it meant is deleted can be lost";
                report.right(name, how);
                return Ok(true);
            }
            let deleted = self.store.delete_unchanged(key, &object).await?;
            if deleted {
                report.right(name, "an object stays that is not the one to be deleted");
            }
            Ok::<_, StoreError>(deleted)
        };
        match tried.await {
            Ok(true) => {}
            Ok(false) => {
                let why = "the bucket takes an object's own ETag for another one";
                let advice = "whatever stands between pounce and the bucket must not change ETags; until then, manifests \
                              that have tags cannot be deleted";
                report.wrong(name, why, advice);
            }
            Err(error) => {
                let why = causes(&error);
                report.wrong(name, &why, advice(&why));
            }
        }
    }

    async fn delete(&self, report: &mut Report) {
        for id in [&self.first, &self.second] {
            let key = Key::Check(id);
            let left = match self.store.delete(key).await {
                Ok(()) => self.store.head(key).await,
                Err(error) => Err(error),
            };
            match left {
                Ok(None) => {}
                Ok(Some(_)) => {
                    let why = "an object is still there after it was deleted";
                    return report.wrong("delete", why, "wait, and look for _check/ in the bucket");
                }
                Err(error) => {
                    let why = causes(&error);
                    return report.wrong("delete", &why, advice(&why));
                }
            }
        }
        report.right("delete", "nothing is left over");
    }
}

fn clock(there: SystemTime, report: &mut Report) {
    let here = SystemTime::now();
    let skew = here
        .duration_since(there)
        .or_else(|_| there.duration_since(here))
        .unwrap_or_default();
    let seconds = skew.as_secs();
    if skew > SKEW {
        let why = format!("this machine's clock and the bucket's are {seconds} s apart");
        report.wrong("clock", &why, "set this machine's clock, by NTP");
    } else {
        report.right("clock", &format!("{seconds} s from the bucket's"));
    }
}

/// What to change, by what S3 says (its API reference, "Error responses").
fn advice(why: &str) -> &'static str {
    let says = |codes: &[&str]| codes.iter().any(|code| why.contains(code));
    if says(&["Connection refused", "dns error", "timed out", "timeout"]) {
        "check storage.s3.regionendpoint, and that this machine reaches it"
    } else if says(&[
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "no providers",
    ]) {
        "check storage.s3.accesskey and secretkey"
    } else if says(&["RequestTimeTooSkewed"]) {
        "set this machine's clock, by NTP"
    } else if says(&["NoSuchBucket", "no bucket"]) {
        "check storage.s3.bucket, region and regionendpoint"
    } else if says(&["AccessDenied", "refused", "Forbidden", "403"]) {
        "check the keys, and that they may read, write, list and delete in this bucket (an Editor, at Tigris)"
    } else {
        "check storage.s3.regionendpoint, and that this machine reaches it"
    }
}
