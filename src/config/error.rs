//! What can be wrong with a configuration, in a sentence that names the setting.

use std::path::{Path, PathBuf};

use super::{Origin, Origins};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{origin}: {message}")]
    Yaml {
        /// The file or the variable.
        origin: String,
        /// What the parser says.
        message: String,
    },
    /// There is no such setting.
    #[error("{key}: there is no such setting{}", hint(nearest.as_ref()))]
    UnknownKey {
        /// Where it stands, in dotted form.
        key: String,
        /// The known setting that looks most like it.
        nearest: Option<String>,
    },
    /// A value cannot be used.
    #[error("{key}{}: {message}", from(origin.as_ref()))]
    Value {
        /// Where it stands, in dotted form.
        key: String,
        /// The file or the variable that says it.
        origin: Option<String>,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Value { key: key.into(), origin: None, message: message.to_string() }
    }

    /// The same error with where the setting comes from: its variable, or `file`.
    pub(super) fn located(mut self, origins: &Origins, file: Option<&Path>) -> Self {
        if let Self::Value { key, origin, .. } = &mut self {
            *origin = match (origins.of(key), file) {
                (Origin::Variable(name), _) => Some(name),
                (Origin::File, Some(path)) => Some(path.display().to_string()),
                _ => None,
            };
        }
        self
    }
}

fn from(origin: Option<&String>) -> String {
    origin.map(|origin| format!(" (in {origin})")).unwrap_or_default()
}

/// `, did you mean …?`, where there is something to suggest.
pub(super) fn hint(nearest: Option<&String>) -> String {
    nearest.map(|key| format!(", did you mean {key}?")).unwrap_or_default()
}
