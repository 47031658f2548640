//! Manifests as the bucket has them, and what is said of each in a list.

use std::time::Duration;

use moka::sync::Cache as Moka;

use super::Browse;
use super::configuration::ImageConfiguration;
use crate::oci::{Descriptor, Digest, Links, Manifest, RepositoryName};
use crate::registry::inventory::told;
use crate::registry::stored_manifest;
use crate::store::Key;

/// The bytes of all summaries that are kept.
const BYTES: u64 = 4 << 20;
/// How long one is kept: a manifest may be deleted.
const LIFE: Duration = Duration::from_mins(10);
/// How many platforms a summary names.
const PLATFORMS: usize = 20;
/// The largest configuration of an image that is read, in bytes.
const MAX_CONFIGURATION: u64 = 1 << 20;

/// What is said of a manifest in a list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The bytes of the image, with its layers; of an index, those of one image, where that is stored.
    pub size: Option<u64>,
    /// The platform of that image, where an index has several.
    pub size_of: Option<String>,
    /// The platforms, of which an index has many.
    pub platforms: Vec<String>,
    /// How many platforms more there are.
    pub more_platforms: usize,
}

/// Summaries by repository and digest.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Summaries(Moka<(RepositoryName, Digest), Summary>);

impl Default for Summaries {
    fn default() -> Self {
        let weigher = |(name, _): &(RepositoryName, Digest), summary: &Summary| {
            let texts = summary.platforms.iter().chain(&summary.size_of).map(|text| text.len() + 24).sum::<usize>();
            u32::try_from(300 + name.as_str().len() + texts).unwrap_or(u32::MAX)
        };
        Self(Moka::builder().max_capacity(BYTES).weigher(weigher).time_to_live(LIFE).build())
    }
}

/// The platform of an entry of an index; `None` for one that is no image, as `BuildKit`'s attestations.
pub(super) fn platform_of(entry: &Descriptor) -> Option<String> {
    let platform = entry.platform()?.to_string();
    (platform != "unknown/unknown").then_some(platform)
}

/// The bytes of an image: its manifest, its configuration and its layers.
pub(super) fn size_of(manifest: &Manifest, blobs: &[Descriptor]) -> u64 {
    blobs.iter().fold(manifest.bytes().len() as u64, |sum, blob| sum.saturating_add(blob.size()))
}

impl Browse {
    /// What is said of a manifest in a list. Up to five requests.
    pub(super) async fn summary(&self, name: &RepositoryName, digest: Digest) -> Result<Summary, String> {
        let key = (name.clone(), digest);
        if let Some(summary) = self.summaries.0.get(&key) {
            return Ok(summary);
        }
        let manifest = self.manifest(name, digest).await?;
        let Links { blobs, manifests } = manifest.links();
        let summary = if manifest.media_type().is_index() {
            self.summary_of_index(name, &manifests).await
        } else {
            let configuration = match blobs.first() {
                Some(configuration) => self.configuration(name, configuration).await.ok(),
                None => None,
            };
            Summary {
                size: Some(size_of(&manifest, &blobs)),
                size_of: None,
                platforms: configuration.and_then(|it| it.platform()).into_iter().collect(),
                more_platforms: 0,
            }
        };
        self.summaries.0.insert(key, summary.clone());
        Ok(summary)
    }

    async fn summary_of_index(&self, name: &RepositoryName, entries: &[Descriptor]) -> Summary {
        let mut images: Vec<(String, Digest)> =
            entries.iter().filter_map(|entry| Some((platform_of(entry)?, *entry.digest()))).collect();
        // The one that most clients pull.
        let usual = images.iter().position(|(platform, _)| platform == "linux/amd64").unwrap_or(0);
        let shown = images.get(usual).cloned();
        let image = match &shown {
            Some((_, digest)) => self.manifest(name, *digest).await.ok(),
            None => None,
        };
        let (size_of, all) = (shown.map(|(platform, _)| platform), images.len());
        images.truncate(PLATFORMS);
        Summary {
            size: image.map(|image| size_of_image(&image)),
            size_of: size_of.filter(|_| all > 1),
            platforms: images.into_iter().map(|(platform, _)| platform).collect(),
            more_platforms: all.saturating_sub(PLATFORMS),
        }
    }

    /// A manifest that the repository has in memory or in the bucket; or why it cannot be read.
    pub(super) async fn manifest(&self, name: &RepositoryName, digest: Digest) -> Result<Manifest, String> {
        if let Some(manifest) = self.cache.manifests.get(name, digest) {
            return Ok(manifest);
        }
        match stored_manifest::read(&self.store, name, digest).await {
            Ok(Some((manifest, _))) => Ok(manifest),
            Ok(None) => Err("it is not stored here".to_owned()),
            Err(error) => Err(told(error)),
        }
    }

    /// The configuration of an image, if the repository has it: another one's is not shown.
    pub(super) async fn configuration(
        &self,
        name: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Result<ImageConfiguration, String> {
        if descriptor.size() > MAX_CONFIGURATION {
            return Err("it is too large to be shown".to_owned());
        }
        let digest = descriptor.digest();
        let (link, bytes) = tokio::join!(
            self.store.exists(Key::Layer(name, digest)),
            self.store.get_up_to(Key::Blob(digest), MAX_CONFIGURATION)
        );
        let bytes = bytes.map_err(told)?.filter(|_| matches!(link, Ok(true)));
        let bytes = bytes.ok_or("it is not stored here: a client that pulls the image brings it")?;
        serde_json::from_slice(&bytes.bytes).map_err(|_| "it is not the configuration of an image".to_owned())
    }
}

fn size_of_image(image: &Manifest) -> u64 {
    size_of(image, &image.links().blobs)
}
