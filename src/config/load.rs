//! From a file and the environment to a [`Config`].

use std::path::Path;

use serde_json::Value;

use super::keys::{Key, Keys};
use super::overrides::{self, FOREIGN_VARIABLE, PATH_VARIABLE};
use super::{Config, ConfigError, Driver, Remote, UpstreamHost};

/// The variables of a process, in a form that tests can make up.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// This process's own. Variables that are not UTF-8 are left out: no setting is.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // So that REGISTRY_STORAGE comes before REGISTRY_STORAGE_S3_BUCKET, and …_2_… before …_10_….
        pairs.sort_by_cached_key(|(name, value)| {
            let parts = name
                .split('_')
                .map(|part| (part.parse::<u64>().ok(), part.to_owned()));
            (parts.collect::<Vec<_>>(), value.clone())
        });
        Self(pairs)
    }
}

/// A configuration, and what the log shall say about how it came to be.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Settings that were passed over, a sentence each.
    pub notices: Vec<String>,
}

impl Config {
    /// Reads `file`, or the one that `REGISTRY_CONFIGURATION_PATH` names, or none; then the
    /// variables over it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let file = file.or_else(|| environment.get(PATH_VARIABLE).map(Path::new));
        let Some(path) = file else {
            return Self::parse("", environment);
        };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, environment).map_err(|error| match error {
            ConfigError::Yaml { origin, message } if origin.is_empty() => ConfigError::Yaml {
                origin: path.display().to_string(),
                message,
            },
            other => other,
        })
    }

    /// [`load`](Self::load), with the text of the file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
        let keys = Keys::new();
        let mut notices = Vec::new();
        let mut document = match text.trim() {
            "" => Value::Null,
            text => overrides::yaml("", text)?,
        };
        if document.is_null() {
            document = Value::Object(serde_json::Map::new());
        }
        if !document.is_object() {
            return Err(ConfigError::value(
                "the configuration",
                "must be a mapping of settings",
            ));
        }
        // distribution's short form, `storage: filesystem`.
        let short = document["storage"].as_str().map(str::to_owned);
        if short.is_some() {
            document["storage"] = Value::Object(serde_json::Map::new());
        }
        tidy(&mut document, &keys, &mut Vec::new(), &mut notices)?;

        let choice = environment
            .get("REGISTRY_STORAGE")
            .map(str::to_owned)
            .or(short);
        for (name, value) in &environment.0 {
            if ["REGISTRY_STORAGE", PATH_VARIABLE, FOREIGN_VARIABLE].contains(&name.as_str()) {
                continue;
            }
            overrides::apply(&mut document, &keys, (name, value), &mut notices)?;
        }

        let named = |driver: &str| document["storage"].get(driver).is_some();
        let (names_s3, names_folder) = (named("s3"), named("filesystem"));
        let mut config: Self = serde_path_to_error::deserialize(&document).map_err(|error| {
            // As in the names of variables.
            let path = error.path().to_string().replace('[', ".").replace(']', "");
            ConfigError::value(path, error.inner())
        })?;
        config.adopt(environment);
        // An empty key would sign what anybody can sign.
        config.http.secret = config
            .http
            .secret
            .filter(|secret| !secret.reveal().is_empty());
        config.storage.driver = match choice.as_deref() {
            Some("s3") => Driver::S3,
            Some("filesystem") => Driver::Filesystem,
            Some(_) => {
                return Err(ConfigError::value(
                    "storage",
                    "pounce knows s3 and filesystem",
                ));
            }
            None if config.storage.s3.bucket.is_some() || (names_s3 && !names_folder) => Driver::S3,
            None => Driver::Filesystem,
        };
        config.check()?;
        Ok(Loaded { config, notices })
    }

    /// Takes what `fly storage create` sets, where nothing else was said. Credentials are not
    /// copied: the SDK's default chain finds them under the same names.
    fn adopt(&mut self, environment: &Environment) {
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| environment.get(name))
                .map(str::to_owned)
        };
        let s3 = &mut self.storage.s3;
        s3.bucket = s3
            .bucket
            .take()
            .filter(|name| !name.is_empty())
            .or_else(|| first(&["BUCKET_NAME"]));
        s3.regionendpoint = s3
            .regionendpoint
            .take()
            .filter(|url| !url.is_empty())
            .or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        s3.region = s3
            .region
            .take()
            .or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    }

    /// What concerns more than one setting.
    fn check(&self) -> Result<(), ConfigError> {
        let s3 = &self.storage.s3;
        if self.storage.driver == Driver::S3 {
            if s3.bucket.is_none() {
                return Err(ConfigError::value("storage.s3.bucket", "is missing"));
            }
            if s3.region.is_none() && s3.regionendpoint.is_none() {
                return Err(ConfigError::value(
                    "storage.s3.region",
                    "is missing; for Tigris, set it to auto and storage.s3.regionendpoint to https://t3.storage.dev",
                ));
            }
            if s3.accesskey.is_some() != s3.secretkey.is_some() {
                return Err(ConfigError::value(
                    "storage.s3.accesskey",
                    "and secretkey must be set together",
                ));
            }
        }
        self.check_upstreams()?;
        if !self.http.prefix.is_empty() && !self.http.prefix.starts_with('/') {
            return Err(ConfigError::value("http.prefix", "must begin with a /"));
        }
        if !self.http.debug.prometheus.path.starts_with('/') {
            return Err(ConfigError::value(
                "http.debug.prometheus.path",
                "must begin with a /",
            ));
        }
        Ok(())
    }

    fn check_upstreams(&self) -> Result<(), ConfigError> {
        let proxy = &self.proxy;
        check_credentials("proxy", &proxy.own())?;
        if proxy.remoteurl.is_none() && proxy.host.is_some() {
            let message = "names the upstream at proxy.remoteurl, and there is none";
            return Err(ConfigError::value("proxy.host", message));
        }
        let mut known: Vec<&str> = proxy.host.iter().map(UpstreamHost::as_str).collect();
        for (index, remote) in proxy.upstreams.iter().enumerate() {
            let at = format!("proxy.upstreams.{index}");
            check_credentials(&at, remote)?;
            let Some(host) = &remote.host else {
                return Err(ConfigError::value(format!("{at}.host"), "is missing"));
            };
            if known.contains(&host.as_str()) {
                let message = format!("{} is an upstream already", host.as_str());
                return Err(ConfigError::value(format!("{at}.host"), message));
            }
            known.push(host.as_str());
        }
        Ok(())
    }
}

fn check_credentials(at: &str, remote: &Remote) -> Result<(), ConfigError> {
    if remote.username.is_some() != remote.password.is_some() {
        let message = "and password must be set together";
        return Err(ConfigError::value(format!("{at}.username"), message));
    }
    let command = remote.exec.command.as_ref();
    if command.is_some_and(|command| command.as_os_str().is_empty()) {
        return Err(ConfigError::value(format!("{at}.exec.command"), "is empty"));
    }
    if command.is_none() && remote.exec.lifetime.is_some() {
        let message = "is the life of what proxy.exec.command tells, and there is no command";
        return Err(ConfigError::value(format!("{at}.exec.lifetime"), message));
    }
    if remote.username.is_some() && command.is_some() {
        let message = "is one way to get credentials, username and password are another: choose";
        return Err(ConfigError::value(format!("{at}.exec.command"), message));
    }
    Ok(())
}

/// Takes out of a file what is ignored, and refuses what is unknown.
fn tidy(
    node: &mut Value,
    keys: &Keys,
    path: &mut Vec<String>,
    notices: &mut Vec<String>,
) -> Result<(), ConfigError> {
    if let Value::Array(list) = node {
        for (index, element) in list.iter_mut().enumerate() {
            path.push(index.to_string());
            tidy(element, keys, path, notices)?;
            path.pop();
        }
        return Ok(());
    }
    let Value::Object(section) = node else {
        return Ok(());
    };
    let mut drop = Vec::new();
    for (key, child) in section.iter_mut() {
        path.push(key.clone());
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match keys.find(&parts) {
            Key::Ignored(why) => {
                notices.push(format!("{} is ignored: {why}", path.join(".")));
                drop.push(key.clone());
            }
            Key::Refused(why) if !child.is_null() => {
                return Err(ConfigError::value(path.join("."), why));
            }
            Key::Refused(_) => drop.push(key.clone()),
            Key::Unknown(nearest) => {
                return Err(ConfigError::UnknownKey {
                    key: path.join("."),
                    nearest,
                });
            }
            // An empty section, as in `s3:`, holds nothing but defaults.
            Key::Section(_) if child.is_null() => *child = Value::Object(serde_json::Map::new()),
            Key::Section(_) | Key::List => tidy(child, keys, path, notices)?,
            Key::Setting(_) | Key::Free => {}
        }
        path.pop();
    }
    for key in drop {
        section.remove(&key);
    }
    Ok(())
}
