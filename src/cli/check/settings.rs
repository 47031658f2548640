//! The settings, as `pounce check` prints them: by their origins, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::config::{Loaded, Origin};

/// A setting in the JSON of `pounce check`.
#[derive(Debug, Serialize)]
pub(super) struct Setting {
    key: String,
    /// With secrets masked.
    value: Value,
    /// `default`, `file`, or the name of a variable.
    origin: String,
}

/// Every setting.
pub(super) fn list(loaded: &Loaded) -> Vec<Setting> {
    let settings = loaded.settings().into_iter().map(|(key, value, origin)| {
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File => "file".to_owned(),
            Origin::Variable(name) => name,
        };
        Setting { key, value, origin }
    });
    settings.collect()
}

/// The settings of the file, those of the environment, and the defaults if `all`.
pub(super) fn text(loaded: &Loaded, all: bool) -> String {
    let (mut file, mut environment, mut defaults) = (String::new(), String::new(), String::new());
    let mut count = 0;
    for (key, value, origin) in loaded.settings() {
        let value = shown(&value);
        // Writing to a String does not fail.
        let _ = match origin {
            Origin::File => writeln!(file, "  {key}: {value}"),
            Origin::Variable(name) => writeln!(environment, "  {key}: {value} ({name})"),
            Origin::Default => {
                count += 1;
                writeln!(defaults, "  {key}: {value}")
            }
        };
    }
    let mut text = String::new();
    if let (Some(path), false) = (&loaded.file, file.is_empty()) {
        let _ = write!(text, "\nSet in {}:\n{file}", path.display());
    }
    if !environment.is_empty() {
        let _ = write!(text, "\nSet by the environment:\n{environment}");
    }
    let _ = if all {
        write!(text, "\nDefaults:\n{defaults}")
    } else {
        writeln!(text, "\n{count} other settings have their defaults; --all lists them")
    };
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
