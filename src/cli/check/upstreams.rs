//! Checks of the upstreams, all at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::report::Report;
use crate::config::Config;
use crate::telemetry::{Metrics, causes};
use crate::upstream::{Authentication, Upstream, UpstreamError, Upstreams};

/// How long an upstream may take, its token server and a credential helper included.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How many are tried at once.
const CONCURRENCY: usize = 16;

pub(super) async fn check(config: &Config) -> Report {
    let (mut report, metrics) = (Report::default(), Arc::new(Metrics::default()));
    let all = match Upstreams::new(&config.proxy, &metrics) {
        Ok(all) => all,
        Err(error) => {
            let next = "install the package with the system's certificates (ca-certificates)";
            report.failed("upstreams", "SSL_CERT_FILE", &causes(&error), next);
            return report;
        }
    };
    let all = all.routes();
    let results = stream::iter(all.all().map(Arc::as_ref)).map(ping).buffered(CONCURRENCY).collect::<Vec<_>>().await;
    let default = config.proxy.remoteurl.iter().map(|_| "proxy".to_owned());
    let further = (0..config.proxy.upstreams.len()).map(|index| format!("proxy.upstreams.{index}"));
    for ((upstream, result), section) in results.into_iter().zip(default.chain(further)) {
        let name = upstream.label();
        match result {
            Ok(authentication) => {
                let how = match authentication {
                    Authentication::None => "reached; it asks for no credentials",
                    Authentication::Basic => "reached; the credentials are accepted",
                    Authentication::Token { anonymous: true } => "reached; it gives anonymous tokens",
                    Authentication::Token { anonymous: false } => {
                        "reached; the credentials are accepted, and it gives tokens"
                    }
                };
                report.passed(name, how);
            }
            Err(error) => {
                let key = if matches!(error, UpstreamError::Denied { .. }) { "username" } else { "remoteurl" };
                report.failed(name, &format!("{section}.{key}"), &causes(&error), error.advice());
            }
        }
    }
    report
}

async fn ping(upstream: &Upstream) -> (&Upstream, Result<Authentication, UpstreamError>) {
    let late = |_| Err(UpstreamError::Unavailable(format!("there was no answer within {} seconds", TIMEOUT.as_secs())));
    (upstream, tokio::time::timeout(TIMEOUT, upstream.ping()).await.unwrap_or_else(late))
}
