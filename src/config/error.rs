//! Errors of the configuration. Each names the setting.

use std::path::{Path, PathBuf};

use super::origins::{Origin, Origins};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{origin}: {message}")]
    Yaml {
        /// The file or the variable.
        origin: String,
        /// The position of the mistake.
        message: String,
    },
    /// There is no such setting.
    #[error("{key}: there is no such setting{}", hint(nearest.as_ref()))]
    UnknownKey {
        /// The key, in dotted form.
        key: String,
        /// The most similar known setting.
        nearest: Option<String>,
    },
    /// A value cannot be used.
    #[error("{key}{}: {message}", from(origin.as_ref()))]
    Value {
        /// The setting, in dotted form.
        key: String,
        /// The file or the variable that sets it.
        origin: Option<String>,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Value { key: key.into(), origin: None, message: message.to_string() }
    }

    /// The setting or the variable, if the error is about one.
    #[must_use]
    pub fn setting(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => Some(key),
            Self::Read { .. } | Self::Yaml { .. } => None,
        }
    }

    /// The section of the setting: `storage` of `storage.s3.bucket`, and of `REGISTRY_STORAGE_S3_BUCKET`.
    pub(super) fn section(&self) -> String {
        let key = self.setting().unwrap_or_default();
        let key = key.strip_prefix("REGISTRY_").unwrap_or(key);
        key.split(['.', '_']).next().unwrap_or_default().to_ascii_lowercase()
    }

    /// Adds the origin of the setting: its variable, or `file`.
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

/// `, did you mean …?`, if there is a suggestion.
pub(super) fn hint(nearest: Option<&String>) -> String {
    nearest.map(|key| format!(", did you mean {key}?")).unwrap_or_default()
}
