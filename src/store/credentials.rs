//! Credentials that are not configured: the AWS SDKs' variables, profiles and roles.

use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, ProvideCredentials, SharedCredentialsProvider};

use super::ConnectError;
use crate::telemetry::causes;

/// How long credentials are looked for: a machine that is no cloud's does not answer for its role at all.
const SEARCH: Duration = Duration::from_secs(5);

/// How much is repeated of why what was found in the place of credentials is none, in characters.
const MOST_FOUND: usize = 300;

/// Those of the AWS SDKs' default chain.
pub(super) async fn found_credentials(bucket: &str) -> Result<SharedCredentialsProvider, ConnectError> {
    let none = |found| ConnectError::NoCredentials { bucket: bucket.to_owned(), found };
    let search = async {
        let mut defaults = aws_config::defaults(BehaviorVersion::latest());
        if let Some(client) = super::proxy::client() {
            defaults = defaults.http_client(client);
        }
        let defaults = Box::pin(defaults.load()).await;
        let provider = defaults.credentials_provider().ok_or_else(|| none(None))?;
        match provider.provide_credentials().await {
            Ok(_) => Ok(provider),
            Err(error) => {
                // Its type has no name that the SDK's crates hand on. What is not found needs no further words, and
                // lists every place that was looked at.
                let kind = format!("{error:?}");
                let is_absent =
                    ["CredentialsNotLoaded", "ProviderTimedOut"].iter().any(|absent| kind.starts_with(absent));
                let found: String = causes(&error).chars().take(MOST_FOUND).collect();
                Err(none((!is_absent).then_some(found)))
            }
        }
    };
    let found = tokio::time::timeout(SEARCH, search).await;
    found.unwrap_or_else(|_| Err(none(None)))
}
