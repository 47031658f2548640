//! The configuration of an image (image-spec, config.md), as far as it is shown. Fields of another form count as absent.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::oci::Platform;

/// The configuration of an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfiguration {
    /// When it was built (RFC 3339).
    #[serde(deserialize_with = "lenient")]
    pub created: Option<String>,
    #[serde(deserialize_with = "lenient")]
    os: Option<String>,
    #[serde(deserialize_with = "lenient")]
    architecture: Option<String>,
    #[serde(deserialize_with = "lenient")]
    variant: Option<String>,
    /// What a container is started with.
    #[serde(deserialize_with = "lenient")]
    pub config: Option<Execution>,
    /// What made its layers, in their order.
    #[serde(deserialize_with = "lenient")]
    pub history: Option<Vec<BuildStep>>,
}

/// What a container is started with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Execution {
    /// The user.
    #[serde(deserialize_with = "lenient")]
    pub user: Option<String>,
    /// The directory.
    #[serde(deserialize_with = "lenient")]
    pub working_dir: Option<String>,
    /// The command before its arguments.
    #[serde(deserialize_with = "lenient")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    #[serde(deserialize_with = "lenient")]
    pub cmd: Option<Vec<String>>,
    /// Variables of the environment: `NAME=value`.
    #[serde(deserialize_with = "lenient")]
    pub env: Option<Vec<String>>,
    /// Ports as keys: `80/tcp`.
    #[serde(deserialize_with = "lenient")]
    pub exposed_ports: Option<Map<String, Value>>,
    /// Labels.
    #[serde(deserialize_with = "lenient")]
    pub labels: Option<Map<String, Value>>,
}

/// A step of a build.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BuildStep {
    /// The command.
    #[serde(deserialize_with = "lenient")]
    pub created_by: Option<String>,
    /// It made no layer.
    #[serde(deserialize_with = "lenient")]
    pub empty_layer: Option<bool>,
}

impl ImageConfiguration {
    /// As in `linux/amd64`.
    #[must_use]
    pub fn platform(&self) -> Option<String> {
        let (os, architecture) = (self.os.as_ref()?, self.architecture.as_ref()?);
        let platform = [Some(os), Some(architecture), self.variant.as_ref()].into_iter().flatten();
        let platform = platform.filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("/");
        // As lists of images have them, for one that is written so.
        Some(platform.parse().map_or(platform, |platform: Platform| platform.to_string()))
    }
}

impl ImageConfiguration {
    /// Its labels, texts only.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.config.as_ref().and_then(|config| config.labels.as_ref()).map(texts).unwrap_or_default()
    }
}

/// The entries that are texts.
pub(super) fn texts(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    fields.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_another_form_count_as_absent() {
        let text = r#"{"os":"linux","architecture":"arm64","variant":"v8","created":7,"history":{},"x":[],
            "config":{"Cmd":"sh","Env":["A=b"],"Labels":null}}"#;
        let read: ImageConfiguration = serde_json::from_str(text).unwrap();
        assert_eq!(read.platform().as_deref(), Some("linux/arm64/v8"));
        let config = read.config.unwrap();
        assert_eq!((read.created, read.history.is_none(), config.cmd, config.labels), (None, true, None, None));
        assert_eq!(config.env.unwrap(), ["A=b"]);
        let empty: ImageConfiguration = serde_json::from_str("{}").unwrap();
        assert_eq!(empty.platform(), None);
    }
}
