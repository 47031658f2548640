//! Credentials that are not configured: the AWS SDKs' variables, profiles and roles.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_s3::config::{BehaviorVersion, ProvideCredentials, SharedCredentialsProvider};

use super::connect_error::ConnectError;
use super::proxy;
use crate::telemetry::causes;

/// How long credentials are looked for: outside a cloud, nothing answers for a machine's role.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the SDK's error is repeated, in characters.
const MAX_CAUSE: usize = 300;

/// The credentials of the AWS SDKs' default chain.
pub(super) async fn default_credentials(bucket: &str) -> Result<SharedCredentialsProvider, ConnectError> {
    let none = |found| ConnectError::NoCredentials { bucket: bucket.to_owned(), found };
    // The chain begins with the variables. Alone, they need no region, for which the chain asks a cloud's metadata
    // service: elsewhere that takes seconds, and logs warnings.
    let variables = EnvironmentVariableCredentialsProvider::new();
    if variables.provide_credentials().await.is_ok() {
        return Ok(SharedCredentialsProvider::new(variables));
    }
    let search = async {
        let mut defaults = aws_config::defaults(BehaviorVersion::latest());
        if let Some(client) = proxy::client() {
            defaults = defaults.http_client(client);
        }
        let defaults = Box::pin(defaults.load()).await;
        let provider = defaults.credentials_provider().ok_or_else(|| none(None))?;
        match provider.provide_credentials().await {
            Ok(_) => Ok(provider),
            Err(error) => {
                // The SDK's crates do not export the error's type. That nothing was found needs no further words, and
                // its text lists every place that was searched.
                let kind = format!("{error:?}");
                let is_absent =
                    ["CredentialsNotLoaded", "ProviderTimedOut"].iter().any(|absent| kind.starts_with(absent));
                let found: String = causes(&error).chars().take(MAX_CAUSE).collect();
                Err(none((!is_absent).then_some(found)))
            }
        }
    };
    let found = tokio::time::timeout(SEARCH_TIMEOUT, search).await;
    found.unwrap_or_else(|_| Err(none(None)))
}
