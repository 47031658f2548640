//! From a file and the environment to a [`Config`].

use std::path::Path;

use serde_json::Value;

use super::keys::Keys;
use super::origins::Origins;
use super::overrides::{self, AUTH_VARIABLE, Applied, EMPTY, FOREIGN_VARIABLE, PATH_VARIABLE, S3AWS, STORAGE_VARIABLE};
use super::{Config, ConfigError, Driver, Scheme, document, network, scalars, service_links, yaml};

/// The variables of a process, in a form that tests can make up.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// This process's own.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                // One that is not UTF-8 is no good value, and must not count as not set.
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // So that REGISTRY_STORAGE comes before REGISTRY_STORAGE_S3_BUCKET, and …_2_… before …_10_….
        pairs.sort_by_cached_key(|(name, value)| {
            let parts = name.split('_').map(|part| (part.parse::<u64>().ok(), part.to_owned()));
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
    /// Where each setting comes from.
    pub origins: Origins,
}

impl Config {
    /// Reads `file`, or the one that `REGISTRY_CONFIGURATION_PATH` names, or none; then the variables over it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let file = file.or_else(|| environment.get(PATH_VARIABLE).map(Path::new));
        let Some(path) = file else {
            return Self::parse("", environment);
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse_file(&text, Some(path), environment)
    }

    /// [`load`](Self::load), with the text of the file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
        Self::parse_file(text, None, environment)
    }

    fn parse_file(text: &str, file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let keys = Keys::new();
        let mut notices = Vec::new();
        let origin = file.map(|path| path.display().to_string());
        let mut document = match text.trim() {
            "" => Value::Null,
            _ => yaml::parse(&origin.unwrap_or_default(), text, &mut notices)?,
        };
        if document.is_null() {
            document = Value::Object(serde_json::Map::new());
        }
        if !document.is_object() {
            return Err(ConfigError::value("the configuration", "must be a mapping of settings"));
        }
        let storage = choice(&mut document, STORAGE_VARIABLE, environment, &mut notices)?;
        let auth = choice(&mut document, AUTH_VARIABLE, environment, &mut notices)?;
        if let Some(Value::Object(storage)) = document.get_mut("storage")
            && !storage.contains_key("s3")
            && let Some(section) = storage.remove(S3AWS)
        {
            storage.insert("s3".to_owned(), section);
        }
        document::tidy(&mut document, &keys, &mut Vec::new(), &mut notices)?;
        let mut origins = Origins::of_file(&document);
        for (section, chosen, variable) in [("storage", &storage, STORAGE_VARIABLE), ("auth", &auth, AUTH_VARIABLE)] {
            if matches!(chosen, Choice::Whole) {
                origins.overridden(section.to_owned(), variable);
            }
        }
        let mut service_links = Vec::new();
        for (name, value) in &environment.0 {
            let not_one = [STORAGE_VARIABLE, AUTH_VARIABLE, PATH_VARIABLE, FOREIGN_VARIABLE];
            if not_one.contains(&name.as_str()) {
                continue;
            }
            match overrides::apply(&mut document, &keys, (name, value), &mut notices)? {
                Applied::Setting(path) => origins.overridden(path, name),
                Applied::ServiceLink => service_links.push(name.as_str()),
                Applied::Nothing => {}
            }
        }
        notices.extend(service_links::notice(&service_links));
        notices.extend(network::notices(environment));
        let chosen = (storage.name(), auth.name());
        let config = Self::of(document, &keys, chosen, environment, &mut origins, &mut notices)
            .map_err(|error| error.located(&origins, file))?;
        Ok(Loaded { config, notices, origins })
    }

    /// The configuration that a document is, with the alternatives in `storage` and `auth` that are named outright.
    fn of(
        mut document: Value,
        keys: &Keys,
        (storage, auth): (Option<String>, Option<String>),
        environment: &Environment,
        origins: &mut Origins,
        notices: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        document::shape(&document, keys, &mut Vec::new())?;
        let named = |driver: &str| document["storage"].get(driver).is_some();
        let (names_s3, names_folder) = (named("s3"), named("filesystem"));
        let asked = |scheme: &str| {
            let section = document["auth"].get(scheme);
            section.is_some_and(|section| document::is_wanted(section, keys, &["auth", scheme]))
        };
        let (names_htpasswd, names_token) = (asked("htpasswd"), asked("token"));
        scalars::convert(&mut document, keys, &mut Vec::new(), notices)?;
        let mut config: Self = serde_path_to_error::deserialize(&document).map_err(|error| {
            // As in the names of variables.
            let path = error.path().to_string().replace('[', ".").replace(']', "");
            ConfigError::value(path, error.inner())
        })?;
        config.adopt(environment, origins);
        config.auth.scheme = match (auth.as_deref(), names_htpasswd, names_token) {
            (Some("htpasswd"), ..) | (None, true, false) => Scheme::Htpasswd,
            (Some("token"), ..) | (None, false, true) => Scheme::Token,
            (Some("none"), ..) | (None, false, false) => Scheme::Open,
            (Some(_), ..) => {
                let message = "pounce knows htpasswd and token, and none";
                return Err(ConfigError::value("auth", message));
            }
            (None, true, true) => {
                let message = "htpasswd and token are both there: choose with REGISTRY_AUTH, or take one out";
                return Err(ConfigError::value("auth", message));
            }
        };
        config.auth.beside_upstream = config.proxy.remoteurl.is_some() || !config.proxy.upstreams.is_empty();
        config.storage.driver = match storage.as_deref() {
            Some("s3" | S3AWS) => Driver::S3,
            Some("filesystem") => Driver::Filesystem,
            Some(_) => {
                return Err(ConfigError::value("storage", "pounce knows s3 and filesystem"));
            }
            None if config.storage.s3.bucket.is_some() || (names_s3 && !names_folder) => Driver::S3,
            None => Driver::Filesystem,
        };
        config.check()?;
        Ok(config)
    }

    /// Takes what `fly storage create` sets, where nothing else was said. Credentials are not copied: the SDK's default
    /// chain finds them under the same names.
    fn adopt(&mut self, environment: &Environment, origins: &mut Origins) {
        let s3 = &mut self.storage.s3;
        let adopted: [(&str, &mut Option<String>, &[&str]); 3] = [
            ("bucket", &mut s3.bucket, &["BUCKET_NAME"]),
            ("regionendpoint", &mut s3.regionendpoint, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            ("region", &mut s3.region, &["AWS_REGION", "AWS_DEFAULT_REGION"]),
        ];
        for (key, setting, names) in adopted {
            let mut found = names.iter().filter_map(|name| Some((*name, environment.get(name)?)));
            if let (None, Some((name, value))) = (&setting, found.next()) {
                *setting = Some(value.to_owned());
                origins.overridden(format!("storage.s3.{key}"), name);
            }
        }
    }
}

/// What is said of a section's alternatives.
enum Choice {
    /// None is named outright.
    Open,
    /// This one is.
    Named(String),
    /// The variable has the whole section.
    Whole,
}

impl Choice {
    fn name(self) -> Option<String> {
        match self {
            Self::Named(name) => Some(name),
            Self::Open | Self::Whole => None,
        }
    }
}

/// Which of a section's alternatives is named outright: by its variable, or in distribution's short form, `storage:
/// filesystem`, which is taken out. A variable may have the section itself, in place of the file's.
///
/// # Errors
/// It is empty, or a list.
fn choice(
    document: &mut Value,
    variable: &str,
    environment: &Environment,
    notices: &mut Vec<String>,
) -> Result<Choice, ConfigError> {
    let section = variable.trim_start_matches("REGISTRY_").to_ascii_lowercase();
    let short = document[&section].as_str().map(|name| name.trim().to_owned());
    if short.is_some() {
        document[&section] = Value::Object(serde_json::Map::new());
    }
    let named = |place: &str, name: &str| match name.trim() {
        "" => Err(ConfigError::value(place, EMPTY)),
        name => Ok(Choice::Named(name.to_owned())),
    };
    match environment.get(variable) {
        // Blanks are no value, either.
        Some(text) if !text.trim().is_empty() => match yaml::parse(variable, text, notices)? {
            Value::Null => {}
            Value::String(name) => return named(variable, &name),
            whole @ Value::Object(_) => {
                document[&section] = whole;
                return Ok(Choice::Whole);
            }
            _ => {
                let message = "write one name, or a mapping of settings";
                return Err(ConfigError::value(variable, message));
            }
        },
        _ => {}
    }
    short.map_or(Ok(Choice::Open), |name| named(&section, &name))
}
