//! Where settings come from, for those who ask why something is as it is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Loaded;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File,
    /// This variable.
    Variable(String),
}

/// The origins of those settings that are not defaults, by their paths: `proxy.upstreams.0.host`.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn of_file(document: &Value) -> Self {
        let mut settings = Vec::new();
        leaves(document, "", &mut settings);
        let settings = settings.into_iter().filter(|(_, value)| !value.is_null());
        Self(settings.map(|(path, _)| (path, Origin::File)).collect())
    }

    /// A variable named this setting, or the section or list of it.
    pub(super) fn overridden(&mut self, path: String, variable: &str) {
        let below = format!("{path}.");
        self.0.retain(|known, _| !known.starts_with(&below));
        self.0.insert(path, Origin::Variable(variable.to_owned()));
    }

    /// Where the setting at this path comes from.
    #[must_use]
    pub fn of(&self, path: &str) -> Origin {
        // A variable may have named the whole of which it is a part.
        let ends = path.match_indices('.').map(|(end, _)| end);
        let mut paths = std::iter::once(path.len()).chain(ends.rev());
        let found = paths.find_map(|end| self.0.get(&path[..end]));
        found.cloned().unwrap_or(Origin::Default)
    }
}

impl Loaded {
    /// Every setting: its path, its value, secrets masked, and where it comes from.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String, Origin)> {
        // It is plain data.
        let document = serde_json::to_value(&self.config).unwrap_or_default();
        let mut found = Vec::new();
        leaves(&document, "", &mut found);
        let settings = found.into_iter();
        settings
            .map(|(path, value)| {
                let shown = match value {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                let origin = self.origins.of(&path);
                (path, shown, origin)
            })
            .collect()
    }
}

/// Every single setting of a document with its path, in order.
fn leaves<'a>(node: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match node {
        Value::Object(section) if !section.is_empty() => {
            for (key, child) in section {
                leaves(child, &below(key), found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (index, child) in list.iter().enumerate() {
                leaves(child, &below(&index.to_string()), found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}
