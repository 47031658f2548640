//! From a document of texts, which the file and the variables make, to one with the types of the settings.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::keys::{Key, Keys};
use super::{durations, scalars};

/// The durations that may be numbers of nanoseconds, as in distribution. Elsewhere a number of seconds that is read as
/// nanoseconds would do harm: uploads would be aborted at once.
const IN_NANOSECONDS: [&str; 5] = ["draintimeout", "lifetime", "timeout", "backoff", "ttl"];

/// Whether the document has this section. One that lists all its settings and gives none a value, as in
/// `config/registry.yml`, does not count. One that lists some does, because it comes from a template whose variables
/// are missing.
pub(super) fn is_wanted(section: &Value, keys: &Keys, path: &[&str]) -> bool {
    let unset = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match (section, keys.find(path)) {
        (Value::Object(set), Key::Section(all)) => set.len() < all.len() || !set.values().all(unset),
        _ => true,
    }
}

/// Gives every setting its type, and leaves out ignored settings and those without a value, so that their defaults
/// count. Below `auth`, a setting without a value stays, and is an error: a registry that was meant to be closed must
/// not open because a template's variable is missing.
///
/// `errors` gets a mistake for each key that is unknown or refused, for each section that is not a mapping, and for each
/// setting that cannot be read as its type; the document loses them. The error does not repeat a value, because it may be
/// a secret; so it is found here and not by serde.
pub(super) fn convert(document: &mut Value, keys: &Keys, notices: &mut Vec<String>, errors: &mut Vec<ConfigError>) {
    Converter { keys, notices, errors, path: Vec::new() }.node_or_nothing(document);
}

struct Converter<'a> {
    keys: &'a Keys,
    notices: &'a mut Vec<String>,
    errors: &'a mut Vec<ConfigError>,
    /// The path of the current node.
    path: Vec<String>,
}

impl Converter<'_> {
    /// Returns whether the node stays. One with a mistake does not.
    fn node_or_nothing(&mut self, node: &mut Value) -> bool {
        self.node(node).unwrap_or_else(|error| {
            self.errors.push(error);
            false
        })
    }

    fn node(&mut self, node: &mut Value) -> Result<bool, ConfigError> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let error = |message| ConfigError::value(path.join("."), message);
        match (self.keys.find(&path), &mut *node) {
            (Key::Ignored(why), _) => {
                self.notices.push(format!("{} is ignored: {why}", path.join(".")));
                return Ok(false);
            }
            (Key::Refused(refused), node) if refused.is_harmless(&path, node) => return Ok(false),
            (Key::Refused(refused), _) => return Err(error(refused.why)),
            (Key::Unknown(nearest), _) => return Err(ConfigError::UnknownKey { key: path.join("."), nearest }),
            // An empty section, as in `s3:`, has all defaults.
            (Key::Section(_), Value::Null) => *node = Value::Object(Map::new()),
            (Key::Section(_), Value::Object(section)) => {
                let mut dropped = Vec::new();
                for (key, child) in section.iter_mut() {
                    if !self.child(key.clone(), child) {
                        dropped.push(key.clone());
                    }
                }
                section.retain(|key, _| !dropped.contains(key));
            }
            (Key::List, Value::Array(list)) => {
                for (index, element) in list.iter_mut().enumerate() {
                    // An element stays, so that the others keep their indexes.
                    if !self.child(index.to_string(), element) {
                        *element = Value::Object(Map::new());
                    }
                }
            }
            (Key::List | Key::Free, Value::Null) => {}
            (Key::Free, Value::Object(headers)) => headers.values_mut().for_each(header_values),
            (Key::Section(_) | Key::Free, _) => return Err(error("must be a mapping of settings")),
            (Key::List, _) => return Err(error("must be a list of mappings")),
            (Key::Setting(default), _) => *node = self.setting(default, node.take())?,
        }
        Ok(!node.is_null() || self.is_auth())
    }

    fn child(&mut self, key: String, node: &mut Value) -> bool {
        self.path.push(key);
        let stays = self.node_or_nothing(node);
        self.path.pop();
        stays
    }

    fn is_auth(&self) -> bool {
        self.path.first().is_some_and(|first| first == "auth")
    }

    /// A value in the type of the setting's default.
    fn setting(&mut self, default: &Value, value: Value) -> Result<Value, ConfigError> {
        let error = |message| ConfigError::value(self.path.join("."), message);
        Ok(match (default, value) {
            (_, Value::Null) => Value::Null,
            // It comes from a template whose variable is missing.
            (_, Value::String(text)) if text.is_empty() && !self.is_auth() => Value::Null,
            (Value::Bool(_), Value::String(text)) => {
                scalars::boolean(&text).ok_or_else(|| error("write true or false"))?.into()
            }
            (Value::Number(_), Value::String(text)) => {
                scalars::integer(&text).ok_or_else(|| error("write a whole number"))?.into()
            }
            (Value::Array(_), list @ Value::Array(_)) => list,
            (default, Value::String(text)) => {
                let is_duration = default.as_str().is_some_and(durations::is_duration);
                if is_duration && durations::is_in_nanoseconds(&text) {
                    if !self.path.last().is_some_and(|key| IN_NANOSECONDS.contains(&key.as_str())) {
                        return Err(error("a duration needs a unit, as in 60s, 20m or 168h"));
                    }
                    self.notices.push(format!(
                        "{}: a number without a unit is nanoseconds, as distribution reads it; write 60s",
                        self.path.join(".")
                    ));
                }
                Value::String(text)
            }
            (Value::Array(_), _) => return Err(error("write a list of single values")),
            (_, _) => return Err(error("write a single value, no list and no mapping")),
        })
    }
}

/// The values of a header: a single one is a list of one.
fn header_values(node: &mut Value) {
    match node {
        Value::Null => *node = Value::Array(Vec::new()),
        Value::String(_) => *node = Value::Array(vec![node.take()]),
        // distribution reads null as an empty text.
        Value::Array(list) => {
            list.iter_mut().filter(|value| value.is_null()).for_each(|value| *value = Value::String(String::new()));
        }
        _ => {}
    }
}
