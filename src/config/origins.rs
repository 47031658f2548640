//! Where each setting comes from: a default, the file or a variable.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// The file.
    File,
    /// This environment variable.
    Variable(String),
}

/// The origins of all settings that are not defaults, by their paths: `proxy.upstreams.0.host`.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn of_file(document: &Value) -> Self {
        let mut settings = leaves(document);
        settings.retain(|(_, value)| !value.is_null());
        Self(settings.into_iter().map(|(path, _)| (path, Origin::File)).collect())
    }

    /// A variable overrides this setting, section or list.
    pub(super) fn overridden(&mut self, path: String, variable: &str) {
        let below = format!("{path}.");
        self.0.retain(|known, _| !known.starts_with(&below));
        self.0.insert(path, Origin::Variable(variable.to_owned()));
    }

    /// A variable adds to this setting, which other variables may have set.
    pub(super) fn added(&mut self, path: String, variable: &str) {
        let name = match self.of(&path) {
            Origin::Variable(before) => format!("{before}, {variable}"),
            Origin::Default | Origin::File => variable.to_owned(),
        };
        self.overridden(path, &name);
    }

    /// The origin of the setting at this path.
    #[must_use]
    pub fn of(&self, path: &str) -> Origin {
        // A variable may have set a whole section or list.
        let ends = path.match_indices('.').map(|(end, _)| end);
        let mut paths = std::iter::once(path.len()).chain(ends.rev());
        let found = paths.find_map(|end| self.0.get(&path[..end]));
        found.cloned().unwrap_or(Origin::Default)
    }
}

/// Every single setting of a document with its path, in order.
pub(super) fn leaves(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    collect(document, "", &mut found);
    found
}

fn collect<'a>(node: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    match node {
        Value::Object(section) if !section.is_empty() => {
            for (key, child) in section {
                collect(child, &below(path, key), found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (index, child) in list.iter().enumerate() {
                collect(child, &below(path, &index.to_string()), found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}

/// The path of a key in the section at `path`.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
