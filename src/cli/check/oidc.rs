//! Checks of the issuers of `auth.oidc`, all at once: each is asked for its documents.

use futures_util::{StreamExt, stream};

use super::report::Report;
use crate::auth;
use crate::config::{Config, OidcProvider};

/// How many are tried at once.
const CONCURRENCY: usize = 16;

pub(super) async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    let probe = |(index, provider)| async move { (index, provider, auth::probe_issuer(provider).await) };
    let results = stream::iter(config.auth.oidc.iter().enumerate()).map(probe);
    let results: Vec<(usize, &OidcProvider, _)> = results.buffered(CONCURRENCY).collect().await;
    for (index, provider, result) in results {
        let name = format!("tokens of {}", provider.name());
        match result {
            Ok(1) => report.passed(&name, "the issuer has a key"),
            Ok(keys) => report.passed(&name, &format!("the issuer has {keys} keys")),
            Err(why) => {
                let next = "look at the issuer's URL, and at the network between: until its keys can be read, its tokens \
                            log no client in";
                report.failed(&name, &format!("auth.oidc.{index}.issuer"), &why, next);
            }
        }
    }
    report
}
