//! Taking changes of the configuration in force while the server serves: users, rules and upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{StartError, greeting};
use crate::auth::{Access, Granted, KeyVerifier};
use crate::config::{Config, Environment, Loaded, Secret};
use crate::http::AppState;
use crate::reload::Reloaded;

/// The settings that count at once, by how they begin: `auth`, and what `proxy` says of upstreams.
const LIVE: [&str; 11] = [
    "auth.",
    "proxy.remoteurl",
    "proxy.host",
    "proxy.username",
    "proxy.password",
    "proxy.credentials",
    "proxy.exec.",
    "proxy.allow",
    "proxy.deny",
    "proxy.immutable",
    "proxy.upstreams",
];

/// Follows the file of the configuration that the server began with, until it ends: a change of it counts at once, or not
/// at all.
pub(super) async fn follow(
    app: Arc<AppState>,
    began: Arc<Loaded>,
    environment: Environment,
    secret: Secret,
    verifier: Option<Arc<dyn KeyVerifier>>,
) {
    let Some(file) = began.file.clone() else {
        return;
    };
    let (files, versions) = (vec![file.clone()], vec![began.version]);
    let read = move || Config::load(Some(&file), &environment);
    let mut loaded = Reloaded::since("the configuration", files, versions, Arc::clone(&began), read);
    let app = Arc::downgrade(&app);
    while let Some(changed) = loaded.changed().await {
        let Some(app) = app.upgrade() else {
            return;
        };
        for notice in &changed.notices {
            tracing::warn!("{notice}");
        }
        let (config, secret, verifier) = (Arc::clone(&changed), secret.clone(), verifier.clone());
        // It reads files, and may hash a password.
        let applied = tokio::task::spawn_blocking(move || apply(&app, &config, &secret, verifier)).await;
        let error = match applied {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            tracing::error!(error, "reload: users, rules and upstreams stay as they were");
            continue;
        }
        let waiting = waiting(&began.config, &changed);
        if !waiting.is_empty() {
            let settings = waiting.join(", ");
            tracing::warn!(
                settings,
                "reload: these settings differ from those at the start, and count after a restart"
            );
        }
    }
}

/// Both or neither.
fn apply(
    app: &AppState,
    loaded: &Loaded,
    secret: &Secret,
    verifier: Option<Arc<dyn KeyVerifier>>,
) -> Result<(), StartError> {
    let (config, repositories) = (&loaded.config, &app.registry.repositories);
    let routes = repositories.prepare_upstreams(&config.proxy)?;
    let (hosts, before) = (routes.host_names(), app.access());
    let access = Access::open(&config.auth, secret, hosts, verifier, &app.metrics, Some(&before))?;
    repositories.replace_upstreams(routes);
    let granted = Granted::of(&access, app.registry.possible_actions());
    app.replace_access(access);
    greeting::log_upstreams(&app.registry);
    greeting::log_access(&granted);
    Ok(())
}

/// The settings that would be others after a restart, without secrets, which are not compared.
fn waiting(began: &Config, loaded: &Loaded) -> Vec<String> {
    let before = settings(began);
    let after = settings(&loaded.config);
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = |path: &&String| before.get(*path) != after.get(*path);
    let is_live = |path: &str| LIVE.iter().any(|live| path.starts_with(live));
    paths.into_iter().filter(|path| !is_live(path)).filter(differ).cloned().collect()
}

fn settings(config: &Config) -> BTreeMap<String, Value> {
    config.settings().into_iter().collect()
}
