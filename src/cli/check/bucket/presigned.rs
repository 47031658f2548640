//! Presigned URLs, as clients use them.

use std::time::{Duration, SystemTime};

use url::Url;

use super::advice;
use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::config::Scheme;
use crate::store::Key;
use crate::telemetry::causes;
use crate::upstream::{self, UpstreamError};

/// The clock skew that is reported. S3 refuses signatures that are 15 minutes off.
const SKEW: Duration = Duration::from_mins(1);

/// The login of a client that keeps it on a redirect: user `check`, password `check`.
const LOGIN: (&str, &str) = ("authorization", "Basic Y2hlY2s6Y2hlY2s=");

/// The embedded S3 is not tried, because it listens only while pounce serves.
pub(super) async fn check(probe: &Probe<'_>, addr: &str, report: &mut Report) {
    if probe.store.embedded().is_some() {
        return report.passed("presigned GET", "not tried: pounce itself serves the folder");
    }
    let base = Url::parse(&format!("http://{addr}/"));
    let Ok(base) = base.or_else(|_| Url::parse("http://localhost/")) else {
        return;
    };
    let presigned = probe.store.presign(Key::Check(&probe.first), base.as_str()).await;
    let url =
        presigned.map_err(|error| causes(&error)).and_then(|url| Url::parse(&url).map_err(|error| error.to_string()));
    let url = match url {
        Ok(url) => url,
        Err(why) => {
            let (setting, next) = advice::of(probe.config, &why);
            return report.failed("presigned GET", setting, &why, &next);
        }
    };
    let cases = [
        ("presigned GET", None, 200, &probe.bytes[..]),
        ("presigned Range", Some(("range", "bytes=16-31")), 206, &probe.bytes[16..32]),
    ];
    let (mut date, mut works) = (None, true);
    for (name, header, status, expected) in cases {
        match upstream::probe(&url, header).await {
            Ok(seen) if seen.status == status && seen.bytes == expected => {
                date = seen.date.or(date);
                report.passed(name, "a client gets it without credentials");
            }
            Ok(seen) => {
                (date, works) = (seen.date.or(date), false);
                let why = format!("it answered {} instead of {status}", seen.status);
                let advice = "check storage.s3.redirectendpoint, and that the bucket's key may read; or set \
                              storage.redirect.disable";
                report.failed(name, "storage.s3.redirectendpoint", &why, advice);
            }
            Err(error) => {
                works = false;
                let advice = "let clients reach the bucket, set storage.redirect.disable, or list those that cannot in \
                              storage.redirect.exclude";
                let why = match &error {
                    UpstreamError::Unavailable(cause) => cause.clone(),
                    error => causes(error),
                };
                report.failed(name, "storage.redirect.disable", &why, advice);
            }
        }
    }
    if works {
        with_login(probe, &url, report).await;
    }
    if let Some(date) = date {
        clock(date, report);
    }
}

/// Ceph and AWS answer 400 to a request with a signature and a login, which matters to clients that send their login to
/// the bucket, too.
async fn with_login(probe: &Probe<'_>, url: &Url, report: &mut Report) {
    let name = "presigned GET with a login";
    let status = match upstream::probe(url, Some(LOGIN)).await {
        Ok(seen) if seen.status == 200 => {
            return report.passed(name, "a client may send its login on");
        }
        Ok(seen) => seen.status,
        Err(error) => {
            let next = "try again: the same URL without a login was answered";
            return report.warned(name, "storage.s3.redirectendpoint", &causes(&error), next);
        }
    };
    let why = format!("it answered {status} to a client that sends its login on");
    if is_sent_on(probe, url) {
        let why = format!(
            "{why}: containerd, docker and podman do, because the bucket's host is http.host or lies below it, so that \
             their pulls fail"
        );
        let next = "set storage.s3.redirectendpoint to another host, or storage.redirect.disable";
        return report.failed(name, "storage.s3.redirectendpoint", &why, next);
    }
    let concerned = "this concerns only curl with --location-trusted, and Go clients where the bucket's host lies below \
                     the registry's";
    report.passed(name, &format!("{why}; {concerned}"));
}

/// Go keeps a login on a redirect to the same host, and to a subdomain.
fn is_sent_on(probe: &Probe<'_>, url: &Url) -> bool {
    let own = probe.config.http.host.as_ref();
    let own = own.and_then(|host| host.as_url().host_str());
    let (Some(own), Some(there)) = (own, url.host_str()) else {
        return false;
    };
    let is_below = there.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    is_below && probe.config.auth.scheme != Scheme::Open
}

fn clock(there: SystemTime, report: &mut Report) {
    let here = SystemTime::now();
    let skew = here.duration_since(there).or_else(|_| there.duration_since(here)).unwrap_or_default();
    let seconds = skew.as_secs();
    if skew > SKEW {
        let why = format!("this machine's clock and the bucket's are {seconds} s apart");
        report.failed("clock", "storage.s3", &why, "set this machine's clock, by NTP");
    } else {
        report.passed("clock", &format!("{seconds} s from the bucket's"));
    }
}
