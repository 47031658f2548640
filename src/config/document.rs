//! What a file and variables come to, before it has types: whether every part of it is known, and of the right form.

use serde_json::Value;

use super::ConfigError;
use super::keys::{Key, Keys};

/// Whether somebody wants this section: it is there, and not only listed with all that it could have, none of which is
/// set, as in `config/registry.yml`. One that names a setting and has no value for it is wanted: it comes of a template
/// whose variable is missing.
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

/// Sections have to be mappings, and some lists have to be lists of them. serde would repeat what stands there instead,
/// which may be a secret; and it takes an empty list for a section.
pub(super) fn shape(node: &Value, keys: &Keys, path: &mut Vec<String>) -> Result<(), ConfigError> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let children: Vec<(String, &Value)> = match (keys.find(&parts), node) {
        _ if path.is_empty() => node.as_object().into_iter().flatten().map(own).collect(),
        (Key::Section(_), Value::Object(section)) => section.iter().map(own).collect(),
        (Key::List, Value::Array(list)) => {
            let elements = list.iter().enumerate();
            elements.map(|(index, child)| (index.to_string(), child)).collect()
        }
        (Key::Section(_) | Key::List | Key::Free, Value::Null) | (Key::Free, Value::Object(_)) => {
            return Ok(());
        }
        // Here it begins: what is below is not looked at.
        (Key::Section(_) | Key::Free, _) => {
            return Err(ConfigError::value(path.join("."), "must be a mapping of settings"));
        }
        (Key::List, _) => {
            return Err(ConfigError::value(path.join("."), "must be a list of mappings"));
        }
        _ => return Ok(()),
    };
    for (key, child) in children {
        path.push(key);
        shape(child, keys, path)?;
        path.pop();
    }
    Ok(())
}

fn own<'a>((key, child): (&String, &'a Value)) -> (String, &'a Value) {
    (key.clone(), child)
}

/// Takes out of a file what is ignored, and refuses what is unknown.
pub(super) fn tidy(
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
            Key::Refused(refused) if refused.is_harmless(&parts, child) => drop.push(key.clone()),
            Key::Refused(refused) => {
                return Err(ConfigError::value(path.join("."), refused.why));
            }
            Key::Unknown(nearest) => {
                return Err(ConfigError::UnknownKey { key: path.join("."), nearest });
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
