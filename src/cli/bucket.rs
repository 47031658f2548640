//! The bucket of a configuration, for commands beside servers, or without one.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, Environment, Loaded, LogLevel, Secret};
use crate::registry::{Options, Registry};
use crate::store::Store;
use crate::telemetry::{self, Metrics};

/// A registry without a listener, by a configuration whose log only has errors, because the lines of a command replace it.
///
/// # Errors
/// The configuration is wrong, or the bucket cannot be used.
pub(super) async fn open(file: Option<&Path>) -> Result<Registry, Box<dyn std::error::Error>> {
    let Loaded { mut config, .. } = Config::load(file, &Environment::of_process())?;
    if config.log.level == LogLevel::Info {
        config.log.level = LogLevel::Error;
    }
    telemetry::init_logs(&config.log)?;
    let store = Store::connect_beside(&config.storage, &config.http.addr.to_reach()).await?;
    // There are no uploads to sign.
    let options = Options::new(&config, || Secret::from(String::new()));
    let registry = crate::server::open_registry(&config, store, options, &Arc::new(Metrics::default())).await?;
    Ok(registry)
}
