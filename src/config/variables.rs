//! `REGISTRY_…` variables: the name is the path of a setting, the text its value in YAML.

use serde_json::{Map, Value};

use super::error::{ConfigError, hint};
use super::keys::{Key, Keys};
use super::{service_links, yaml};

/// The file to load when the command line names none.
pub(super) const PATH_VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";
/// The storage driver.
pub(super) const STORAGE_VARIABLE: &str = "REGISTRY_STORAGE";
/// The authentication scheme.
pub(super) const AUTH_VARIABLE: &str = "REGISTRY_AUTH";
/// The variables that are not settings; the last one is where podman, buildah and skopeo keep their credentials.
pub(super) const NO_SETTINGS: [&str; 4] = [PATH_VARIABLE, STORAGE_VARIABLE, AUTH_VARIABLE, "REGISTRY_AUTH_FILE"];

/// A mistake in a variable of this section is an error, so that a registry that was meant to be closed does not open.
const ACCESS: &str = "REGISTRY_AUTH_";

/// The beginning of variables with further users: each adds its lines to those of `REGISTRY_AUTH_HTPASSWD_USERS`, so that
/// a user can be added without knowing the others' lines. distribution warns of them, and has no users in variables.
const FURTHER_USERS: &str = "REGISTRY_AUTH_HTPASSWD_USERS_";
const USERS: [&str; 3] = ["auth", "htpasswd", "users"];

/// distribution's other name for the driver `s3`.
pub(super) const S3AWS: &str = "s3aws";

pub(super) const EMPTY: &str = "is empty: give it a value, or take it out";

/// What a variable is.
pub(super) enum Applied {
    /// A setting, at this path.
    Setting(String),
    /// Lines that were added to a setting, at this path.
    Added(String),
    /// Kubernetes' (see [`service_links`]).
    ServiceLink,
    /// Without effect.
    Nothing,
}

/// Puts the value of one variable into `document`, in place of the file's.
///
/// A variable that names no setting is a warning, as in distribution, because a container's environment has variables
/// of other programs.
///
/// # Errors
/// The setting is refused, or the value is not YAML.
pub(super) fn apply(
    document: &mut Value,
    keys: &Keys,
    (name, text): (&str, &str),
    notices: &mut Vec<String>,
) -> Result<Applied, ConfigError> {
    let Some(rest) = name.strip_prefix("REGISTRY_") else {
        return Ok(Applied::Nothing);
    };
    if name.strip_prefix(FURTHER_USERS).is_some_and(|name| !name.is_empty()) {
        add_users(document, name, text)?;
        return Ok(Applied::Added(USERS.join(".")));
    }
    let lower = rest.to_ascii_lowercase();
    let mut path: Vec<&str> = lower.split('_').collect();
    if path.starts_with(&["storage", S3AWS]) {
        path[1] = "s3";
    }
    let key = keys.find(&path);
    // `NAME=` in a file of variables means that it is not set.
    if text.is_empty() {
        // One that names no setting may be Docker's or Kubernetes'.
        if name.starts_with(ACCESS) && !matches!(key, Key::Unknown(_)) {
            return Err(ConfigError::value(name, EMPTY));
        }
        return Ok(Applied::Nothing);
    }
    // The name of a setting wins over the look of its value.
    if !matches!(key, Key::Setting(_)) && service_links::is_service_link(rest, text) {
        return Ok(Applied::ServiceLink);
    }
    match key {
        Key::Ignored(why) => {
            notices.push(format!("{name} is ignored: {why}"));
            return Ok(Applied::Nothing);
        }
        Key::Refused(refused) => {
            if refused.is_harmless(&path, &yaml::parse(name, text, notices)?) {
                return Ok(Applied::Nothing);
            }
            return Err(ConfigError::value(name, refused.why));
        }
        Key::Unknown(nearest) => {
            let nearest = nearest.map(|key| variable(&key));
            if name.starts_with(ACCESS) {
                let message = format!("names no setting{}", hint(nearest.as_ref()));
                return Err(ConfigError::value(name, message));
            }
            notices.push(format!("{name} names no setting{}", hint(nearest.as_ref())));
            return Ok(Applied::Nothing);
        }
        Key::Setting(default) => {
            let value = value(name, text, default, notices)?;
            if value.is_null() && name.starts_with(ACCESS) {
                return Err(ConfigError::value(name, EMPTY));
            }
            put(document, name, &path, value)?;
        }
        Key::Section(_) | Key::List | Key::Free => {
            put(document, name, &path, yaml::parse(name, text, notices)?)?;
        }
    }
    Ok(Applied::Setting(path.join(".")))
}

/// The variable for a dotted key.
fn variable(key: &str) -> String {
    format!("REGISTRY_{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// Parses a variable's text. If the setting is a text, it stays as it is, quoted or not: a password may have a `#`.
fn value(name: &str, text: &str, default: &Value, notices: &mut Vec<String>) -> Result<Value, ConfigError> {
    match default {
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => yaml::parse(name, text, notices),
        // Not all of YAML's nulls: a comment may be a password.
        _ if matches!(text, "~" | "null" | "Null" | "NULL") => Ok(Value::Null),
        _ => Ok(match yaml::parse(name, text, &mut Vec::new()) {
            Ok(Value::String(unquoted)) if text.starts_with(['"', '\'']) => Value::String(unquoted),
            _ => Value::String(text.to_owned()),
        }),
    }
}

/// Adds lines to `auth.htpasswd.users`.
///
/// # Errors
/// There are none, or the setting is not a text.
fn add_users(document: &mut Value, name: &str, text: &str) -> Result<(), ConfigError> {
    let Value::String(added) = value(name, text, &Value::Null, &mut Vec::new())? else {
        return Err(ConfigError::value(name, EMPTY));
    };
    if added.trim().is_empty() {
        return Err(ConfigError::value(name, EMPTY));
    }
    let users = match &document["auth"]["htpasswd"]["users"] {
        Value::Null => added,
        Value::String(before) => format!("{before}\n{added}"),
        _ => return Err(ConfigError::value(USERS.join("."), "write a single value, no list and no mapping")),
    };
    put(document, name, &USERS, Value::String(users))
}

/// Sets the value at `path`, and creates sections and list elements on the way.
///
/// # Errors
/// The path skips a list element.
fn put(node: &mut Value, name: &str, path: &[&str], value: Value) -> Result<(), ConfigError> {
    let Some((key, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let index = key.parse::<usize>();
    if index.is_ok() {
        match node {
            Value::Null => *node = Value::Array(Vec::new()),
            // A single text is a list of one.
            Value::String(_) => *node = Value::Array(vec![node.take()]),
            _ => {}
        }
    }
    if let (Value::Array(list), Ok(index)) = (&mut *node, index) {
        if index > list.len() {
            let message = format!("there is no element {} before it", list.len());
            return Err(ConfigError::value(name, message));
        }
        if index == list.len() {
            list.push(Value::Null);
        }
        return put(&mut list[index], name, rest, value);
    }
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    if let Value::Object(section) = node {
        // Variables are in capitals, so the case of the file's key does not matter.
        let written = section.keys().find(|it| it.eq_ignore_ascii_case(key)).cloned();
        let entry = section.entry(written.unwrap_or((*key).to_owned()));
        put(entry.or_insert(Value::Null), name, rest, value)?;
    }
    Ok(())
}
