//! `validation`: what a manifest that is pushed must fulfil.

use serde::{Deserialize, Deserializer, Serialize};

use super::values;

/// `validation`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validation {
    /// Older than `disabled`, and stronger, as in distribution.
    pub enabled: Option<bool>,
    /// Indexes may name what is not there, whatever stands below.
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
    /// Which of the things that an index names must be in the repository.
    #[serde(deserialize_with = "platforms")]
    pub platforms: Platforms,
    /// For `list`: those for these platforms. An empty list means all, as in distribution.
    pub platformlist: Vec<RequiredPlatform>,
}

/// `validation.manifests.indexes.platforms`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platforms {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those for the platforms of a list; what is for no platform is not among them.
    List,
}

/// An element of `validation.manifests.indexes.platformlist`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequiredPlatform {
    /// The processor, as in `amd64`.
    pub architecture: String,
    /// The operating system, as in `linux`.
    pub os: String,
}

impl Validation {
    /// Whether what an index names for this platform, an operating system and a processor, must be there.
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
                let is = |(os, architecture): (&str, &str)| {
                    let mut listed = platformlist.iter();
                    listed.any(|it| it.os == os && it.architecture == architecture)
                };
                platformlist.is_empty() || platform.is_some_and(is)
            }
        }
    }
}

/// In any case, as distribution takes it; left out, all.
fn platforms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platforms, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    match text.map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("all") => Ok(Platforms::All),
        Some("none") => Ok(Platforms::None),
        Some("list") => Ok(Platforms::List),
        Some(_) => Err(values::custom::<D>("write all, none or list")),
    }
}
