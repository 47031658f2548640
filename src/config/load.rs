//! From a file and the environment to a [`Config`].

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::auth::Scheme;
use super::environment::Environment;
use super::error::ConfigError;
use super::keys::Keys;
use super::origins::{Origin, Origins, leaves};
use super::schema::Config;
use super::storage::Driver;
use super::variables::{self, AUTH_VARIABLE, Applied, EMPTY, NO_SETTINGS, PATH_VARIABLE, S3AWS, STORAGE_VARIABLE};
use super::written::Written;
use super::{check, document, network, oidc, service_links, written, yaml};
use crate::bounded_file::{self, FileVersion};

/// How many mistakes in the types of settings are listed; the document is read once for each.
const MAX_MISTAKES: usize = 64;
/// The longest file, in bytes: thousands of upstreams and users.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// A configuration, with its origins and notices.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    /// Which version of the file that was; `None` without a file.
    pub(crate) version: Option<FileVersion>,
    /// Sentences for the log: settings and variables that have no effect.
    pub notices: Vec<String>,
    /// Where each setting comes from.
    pub origins: Origins,
    /// The settings of the file and of the variables, without their values.
    pub written: Vec<Written>,
}

impl Loaded {
    /// Every setting: its path, its value with secrets masked, and its origin.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, Value, Origin)> {
        let settings = self.config.settings().into_iter().map(|(path, value)| {
            let origin = self.origins.of(&path);
            (path, value, origin)
        });
        settings.collect()
    }
}

impl Config {
    /// Every setting: its path, and its value with secrets masked.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, Value)> {
        // It is plain data.
        let document = serde_json::to_value(self).unwrap_or_default();
        leaves(&document).into_iter().map(|(path, value)| (path, value.clone())).collect()
    }

    /// Reads `file`, or the one that `REGISTRY_CONFIGURATION_PATH` names, or none; then the variables, which override
    /// it.
    ///
    /// # Errors
    /// See [`ConfigError`]; the first one.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        Self::load_all(file, environment).map_err(first)
    }

    /// As [`load`](Self::load).
    ///
    /// # Errors
    /// All mistakes that can be found at once, in their order; there is at least one. See [`ConfigError`].
    pub fn load_all(file: Option<&Path>, environment: &Environment) -> Result<Loaded, Vec<ConfigError>> {
        let Some(path) = file.or_else(|| environment.get(PATH_VARIABLE).map(Path::new)) else {
            return parse("", None, environment);
        };
        // Before it is read, so that a change in between counts as one.
        let version = FileVersion::of(path);
        let text = bounded_file::read_text(path, MAX_FILE);
        let text = text.map_err(|source| vec![ConfigError::Read { path: path.to_owned(), source }])?;
        parse(&text, Some(path), environment).map(|loaded| Loaded { version, ..loaded })
    }

    /// As [`load`](Self::load), with the text of the file.
    ///
    /// # Errors
    /// See [`ConfigError`]; the first one.
    pub fn parse(text: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
        parse(text, None, environment).map_err(first)
    }
}

/// The mistake to report: a configuration is refused only with at least one.
fn first(mistakes: Vec<ConfigError>) -> ConfigError {
    mistakes.into_iter().next().unwrap_or_else(|| unreachable!("a refused configuration has a mistake"))
}

fn parse(text: &str, file: Option<&Path>, environment: &Environment) -> Result<Loaded, Vec<ConfigError>> {
    let (keys, mut notices, mut errors) = (Keys::new(), Vec::new(), Vec::new());
    let origin = file.map(|path| path.display().to_string()).unwrap_or_default();
    let mut document = match text.trim() {
        "" => Value::Null,
        _ => yaml::parse(&origin, text, &mut notices).map_err(|error| vec![error])?,
    };
    if document.is_null() {
        document = Value::Object(Map::new());
    }
    if !document.is_object() {
        return Err(vec![ConfigError::value("the configuration", "must be a mapping of settings")]);
    }
    let mut choose = |document: &mut Value, variable| {
        choice(document, variable, environment, &mut notices).unwrap_or_else(|error| {
            errors.push(error);
            Choice::ByKeys
        })
    };
    let storage = choose(&mut document, STORAGE_VARIABLE);
    let auth = choose(&mut document, AUTH_VARIABLE);
    if let Some(Value::Object(storage)) = document.get_mut("storage")
        && !storage.contains_key("s3")
        && let Some(section) = storage.remove(S3AWS)
    {
        storage.insert("s3".to_owned(), section);
    }
    let mut origins = Origins::of_file(&document);
    for (section, choice, variable) in [("storage", &storage, STORAGE_VARIABLE), ("auth", &auth, AUTH_VARIABLE)] {
        if matches!(choice, Choice::Section) {
            origins.overridden(section.to_owned(), variable);
        }
    }
    let mut service_links = Vec::new();
    for (name, value) in environment.iter().filter(|(name, _)| !NO_SETTINGS.contains(name)) {
        match variables::apply(&mut document, &keys, (name, value), &mut notices) {
            Ok(Applied::Setting(path)) => origins.overridden(path, name),
            Ok(Applied::Added(path)) => origins.added(path, name),
            Ok(Applied::ServiceLink) => service_links.push(name),
            Ok(Applied::Nothing) => {}
            Err(error) => errors.push(error),
        }
    }
    notices.extend(service_links::notice(&service_links));
    notices.extend(network::notices(environment));
    let written = written::of(&document, &origins);
    let before = errors.len();
    let config = typed(document, &keys, [&storage, &auth], environment, &mut origins, &mut notices, &mut errors);
    let located = errors.split_off(before).into_iter().map(|error| error.located(&origins, file));
    errors.extend(located);
    match config {
        Some(config) if errors.is_empty() => {
            Ok(Loaded { config, file: file.map(Path::to_owned), version: None, notices, origins, written })
        }
        _ => Err(errors),
    }
}

/// The configuration of a document, with the choices in `storage` and `auth`; `None` if its mistakes, which `errors` gets,
/// leave nothing to check.
fn typed(
    mut document: Value,
    keys: &Keys,
    [storage, auth]: [&Choice; 2],
    environment: &Environment,
    origins: &mut Origins,
    notices: &mut Vec<String>,
    errors: &mut Vec<ConfigError>,
) -> Option<Config> {
    let wanted =
        |scheme: &str| document["auth"].get(scheme).is_some_and(|it| document::is_wanted(it, keys, &["auth", scheme]));
    let (htpasswd, token) = (wanted("htpasswd"), wanted("token"));
    let oidc = document["auth"].get("oidc").is_some_and(|it| it.as_array().is_none_or(|list| !list.is_empty()));
    let names_s3 = document["storage"].get("s3").is_some() && document["storage"].get("filesystem").is_none();
    document::convert(&mut document, keys, notices, errors);
    let mut config = deserialize(document, errors)?;
    adopt(&mut config, environment, origins);
    let mut chosen = |error: ConfigError| errors.push(error);
    let bucketkeys = config.auth.bucketkeys;
    config.auth.scheme = scheme(auth, [htpasswd, token, oidc, bucketkeys]).map_err(&mut chosen).unwrap_or_default();
    config.auth.beside_upstream = config.proxy.remoteurl.is_some() || !config.proxy.upstreams.is_empty();
    let driver = driver(storage, names_s3 || config.storage.s3.bucket.is_some());
    config.storage.driver = driver.map_err(&mut chosen).unwrap_or_default();
    if config.proxy.spool.maxsize.is_some() {
        notices.push(
            "proxy.spool.maxsize has no effect: blobs are copied through memory, which proxy.fill.memory bounds"
                .to_owned(),
        );
    }
    notices.extend(idle_retention(&config));
    notices.extend(oidc::notices(&config.auth.oidc));
    check::check(&config, errors);
    Some(config)
}

/// `proxy.ttl` of a configuration that was distribution's must not delete what the operator did not expect to go.
fn idle_retention(config: &Config) -> Option<String> {
    let is_set = config.proxy.ttl.is_some_and(|ttl| !ttl.is_zero());
    (is_set && !config.storage.maintenance.gc.enabled).then(|| {
        "proxy.ttl does nothing without storage.maintenance.gc.enabled: what came from upstreams stays".to_owned()
    })
}

/// Reads the settings as their types. A setting that cannot be read is a mistake; the others are read without it.
fn deserialize(mut document: Value, errors: &mut Vec<ConfigError>) -> Option<Config> {
    for _ in 0..MAX_MISTAKES {
        let error = match serde_path_to_error::deserialize(&document) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        // As in the names of variables.
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        errors.push(ConfigError::value(path, error.inner()));
        if !remove(&mut document, error.path()) {
            return None;
        }
    }
    None
}

/// Removes the setting at this path from its section. Elements of lists stay, because others would get their indexes.
fn remove(document: &mut Value, path: &serde_path_to_error::Path) -> bool {
    let mut segments: Vec<&Segment> = path.iter().collect();
    let Some(Segment::Map { key }) = segments.pop() else {
        return false;
    };
    let section = segments.into_iter().try_fold(document, |node, segment| match segment {
        Segment::Map { key } => node.get_mut(key),
        Segment::Seq { index } => node.get_mut(index),
        _ => None,
    });
    section.and_then(Value::as_object_mut).is_some_and(|section| section.remove(key).is_some())
}

/// The scheme, by its name or by the settings that are there: htpasswd, token, oidc and bucketkeys.
fn scheme(choice: &Choice, [htpasswd, token, oidc, bucketkeys]: [bool; 4]) -> Result<Scheme, ConfigError> {
    match (choice.name(), htpasswd, token) {
        (Some("htpasswd"), ..) | (None, true, false) => Ok(Scheme::Htpasswd),
        (Some("token"), ..) | (None, false, true) => Ok(Scheme::Token),
        (Some("oidc"), ..) => Ok(Scheme::Oidc),
        (None, false, false) if oidc => Ok(Scheme::Oidc),
        (Some("bucketkeys"), ..) => Ok(Scheme::BucketKeys),
        (None, false, false) if bucketkeys => Ok(Scheme::BucketKeys),
        (Some("none"), ..) | (None, false, false) => Ok(Scheme::Open),
        (Some(_), ..) => Err(ConfigError::value("auth", "pounce knows htpasswd, oidc, bucketkeys and token, and none")),
        (None, true, true) => {
            let message = "htpasswd and token are both there: choose with REGISTRY_AUTH, or take one out";
            Err(ConfigError::value("auth", message))
        }
    }
}

fn driver(choice: &Choice, names_s3: bool) -> Result<Driver, ConfigError> {
    match choice.name() {
        Some("s3" | S3AWS) => Ok(Driver::S3),
        Some("filesystem") => Ok(Driver::Filesystem),
        Some(_) => Err(ConfigError::value("storage", "pounce knows s3 and filesystem")),
        None if names_s3 => Ok(Driver::S3),
        None => Ok(Driver::Filesystem),
    }
}

/// Takes the variables of `fly storage create` for settings that have no value. The credentials are not copied, because
/// the SDK's default chain reads the same variables.
fn adopt(config: &mut Config, environment: &Environment, origins: &mut Origins) {
    let s3 = &mut config.storage.s3;
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

/// How one of a section's alternatives (storage drivers, authentication schemes) is chosen.
enum Choice {
    /// By the keys of the section.
    ByKeys,
    /// By its name.
    Named(String),
    /// By the keys of the section, which the variable holds.
    Section,
}

impl Choice {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::ByKeys | Self::Section => None,
        }
    }
}

/// The choice in a section, by its variable or in distribution's short form, `storage: filesystem`, which becomes an
/// empty section. The variable may also hold the section itself, which replaces the file's.
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
    let short = document[&section].as_str().map(str::to_owned);
    if short.is_some() {
        document[&section] = Value::Object(Map::new());
    }
    let named = |origin: &str, name: &str| match name.trim() {
        "" => Err(ConfigError::value(origin, EMPTY)),
        name => Ok(Choice::Named(name.to_owned())),
    };
    // A variable of blanks counts as unset.
    if let Some(text) = environment.get(variable).filter(|text| !text.trim().is_empty()) {
        match yaml::parse(variable, text, notices)? {
            Value::Null => {}
            Value::String(name) => return named(variable, &name),
            whole @ Value::Object(_) => {
                document[&section] = whole;
                return Ok(Choice::Section);
            }
            _ => return Err(ConfigError::value(variable, "write one name, or a mapping of settings")),
        }
    }
    short.map_or(Ok(Choice::ByKeys), |name| named(&section, &name))
}
