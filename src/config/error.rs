//! What can be wrong with a configuration, in a sentence that names the setting.

use std::path::PathBuf;

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
    #[error("{key}: {message}")]
    Value {
        /// Where it stands, in dotted form.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Value {
            key: key.into(),
            message: message.to_string(),
        }
    }
}

/// `, did you mean …?`, where there is something to suggest.
pub(super) fn hint(nearest: Option<&String>) -> String {
    nearest
        .map(|key| format!(", did you mean {key}?"))
        .unwrap_or_default()
}
