//! Checks of the upstreams.

use std::sync::Arc;

use super::report::Report;
use crate::config::Config;
use crate::telemetry::{Metrics, causes};
use crate::upstream::{Authentication, Upstreams};

pub(super) async fn check(config: &Config, report: &mut Report) {
    let metrics = Arc::new(Metrics::default());
    let all = match Upstreams::new(&config.proxy, &metrics) {
        Ok(all) => all,
        Err(error) => {
            let advice = "install the package with the system's certificates (ca-certificates)";
            return report.failed("upstreams", &causes(&error), advice);
        }
    };
    for upstream in all.all() {
        let name = upstream.label();
        match upstream.ping().await {
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
            Err(error) => report.failed(name, &causes(&error), error.advice()),
        }
    }
}
