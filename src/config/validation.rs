//! `validation`: what pushed manifests must fulfil.

use serde::{Deserialize, Serialize};

use super::values;

/// `validation`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validation {
    /// Older than `disabled`; it wins, as in distribution.
    pub enabled: Option<bool>,
    /// Whether indexes may name missing manifests, whatever the settings below.
    pub disabled: Option<bool>,
    /// What manifests must fulfil.
    pub manifests: ManifestValidation,
}

/// `validation.manifests`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestValidation {
    /// What indexes must fulfil.
    pub indexes: IndexValidation,
}

/// `validation.manifests.indexes`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexValidation {
    /// Which of an index's manifests must be in the repository.
    #[serde(deserialize_with = "values::any_case")]
    pub platforms: Platforms,
    /// The platforms for `list`. An empty list means all, as in distribution.
    pub platformlist: Vec<RequiredPlatform>,
}

/// `validation.manifests.indexes.platforms`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platforms {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// Those for the platforms of a list.
    List,
}

/// An element of `validation.manifests.indexes.platformlist`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequiredPlatform {
    /// The CPU architecture, as in `amd64`.
    pub architecture: String,
    /// The operating system, as in `linux`.
    pub os: String,
}

impl Validation {
    /// Whether an index's manifest for this platform, an operating system and an architecture, must be there.
    #[must_use]
    pub fn requires(&self, platform: Option<(&str, &str)>) -> bool {
        if self.disabled == Some(true) && self.enabled != Some(true) {
            return false;
        }
        let IndexValidation { platforms, platformlist } = &self.manifests.indexes;
        match platforms {
            Platforms::All => true,
            Platforms::None => false,
            Platforms::List => {
                let is_listed =
                    |(os, architecture)| platformlist.iter().any(|it| it.os == os && it.architecture == architecture);
                platformlist.is_empty() || platform.is_some_and(is_listed)
            }
        }
    }
}
