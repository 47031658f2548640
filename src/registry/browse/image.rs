//! One manifest, with everything that is known of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;

use super::configuration::{ImageConfiguration, texts};
use super::manifest::{platform_of, size_of};
use super::{Browse, LastPull};
use crate::oci::{Descriptor, Digest, Error, Links, Manifest, MediaType, Reference, Referrer, RepositoryName, Tag};
use crate::registry::inventory::Source;
use crate::registry::presence::manifest_unknown;
use crate::registry::runtime::buffered;
use crate::store::{Key, StoreError};

/// How many layers, and how many entries of an index, are shown.
const LAYERS: usize = 200;
const CHILDREN: usize = 100;
/// How many referrers are shown.
const REFERRERS: usize = 50;
/// How many things are read at once.
const PARALLEL: usize = 16;
/// What cosign adds to the digest in the name of a tag.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// A manifest.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// What kind of artifact it says that it is.
    pub artifact_type: Option<String>,
    /// Its bytes, with those of its layers and configuration.
    pub size: u64,
    /// Where it came from.
    pub source: Option<Source>,
    /// When the repository got it.
    pub written: Option<SystemTime>,
    /// When it was last pulled.
    pub pulled: LastPull,
    /// Its annotations, texts only.
    pub annotations: BTreeMap<String, String>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// What it consists of.
    pub content: Content,
    /// What refers to it.
    pub referrers: Vec<Referrer>,
    /// There are more.
    pub more_referrers: bool,
    /// Tags by which cosign attaches signatures, attestations and SBOMs.
    pub attached: Vec<Tag>,
}

/// What a manifest consists of.
#[derive(Clone, Debug)]
pub enum Content {
    /// An image, or another artifact.
    Image {
        /// Its configuration, or why that cannot be read.
        configuration: Box<Result<ImageConfiguration, String>>,
        /// Its layers.
        layers: Vec<Layer>,
        /// How many layers more there are.
        more: usize,
    },
    /// Images of several platforms.
    Index {
        /// Its entries.
        children: Vec<Child>,
        /// How many entries more there are.
        more: usize,
    },
}

/// A layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub struct Child {
    /// As in `linux/amd64`; `None` for what is no image.
    pub platform: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes with those of its layers; `None` if it is not stored.
    pub size: Option<u64>,
}

/// The fields that [`Manifest`] has no name for.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    annotations: Option<Value>,
    artifact_type: Option<Value>,
}

impl Browse {
    /// A manifest of the repository: some ten requests, two for each entry of an index and one for each referrer.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the bucket does not have it in this repository.
    /// - `UNAVAILABLE`: the bucket does not answer.
    pub async fn image(&self, name: &RepositoryName, reference: &Reference) -> Result<Image, Error> {
        let unknown = |cause: String| manifest_unknown(name, reference).caused_by(std::io::Error::other(cause));
        let (digest, of_tag) = match reference {
            Reference::Digest(digest) => (*digest, None),
            Reference::Tag(tag) => match self.inventory.read_tag(name, tag).await {
                Ok((digest, source, written)) => (digest, Some((source, written))),
                Err(cause) => return Err(unknown(cause)),
            },
        };
        let manifest = self.manifest(name, digest).await.map_err(unknown)?;
        let (content, revision, referrers, attached, pulled) = tokio::join!(
            Box::pin(self.content(name, &manifest)),
            self.inventory.read_revision(name, &digest),
            self.referrers.stored(name, &digest, REFERRERS),
            self.attached(name, &digest),
            self.last_pull(name, &digest)
        );
        let (referrers, more_referrers) = referrers?;
        let (source, written) = of_tag.or(revision.ok()).map_or((None, None), |(source, at)| (Some(source), at));
        let (blobs, fields) = (manifest.links().blobs, Fields::read(&manifest));
        Ok(Image {
            digest,
            media_type: manifest.media_type().clone(),
            artifact_type: fields.artifact_type.and_then(|it| it.as_str().map(str::to_owned)),
            size: size_of(&manifest, &blobs),
            source,
            written,
            pulled,
            annotations: match fields.annotations {
                Some(Value::Object(fields)) => texts(&fields),
                _ => BTreeMap::new(),
            },
            subject: manifest.referrer().map(|(subject, _)| subject),
            content,
            referrers,
            more_referrers,
            attached: attached?,
        })
    }

    /// What a tag names now.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the bucket does not have it.
    pub async fn tag_digest(&self, name: &RepositoryName, tag: &Tag) -> Result<Digest, Error> {
        let read = self.inventory.read_tag(name, tag).await;
        read.map(|(digest, ..)| digest).map_err(|cause| {
            manifest_unknown(name, &Reference::Tag(tag.clone())).caused_by(std::io::Error::other(cause))
        })
    }

    async fn content(&self, name: &RepositoryName, manifest: &Manifest) -> Content {
        let Links { blobs, mut manifests } = manifest.links();
        if manifest.media_type().is_index() {
            let more = manifests.len().saturating_sub(CHILDREN);
            manifests.truncate(CHILDREN);
            let children = buffered(PARALLEL, manifests, |entry| self.child(name, entry));
            return Content::Index { children: children.collect().await, more };
        }
        let Some((first, layers)) = blobs.split_first() else {
            let configuration = Box::new(Err("the manifest names none".to_owned()));
            return Content::Image { configuration, layers: Vec::new(), more: 0 };
        };
        let configuration = Box::new(self.configuration(name, first).await);
        let layer = |blob: &Descriptor| Layer {
            digest: *blob.digest(),
            media_type: blob.media_type().clone(),
            size: blob.size(),
        };
        let more = layers.len().saturating_sub(LAYERS);
        Content::Image { configuration, layers: layers.iter().take(LAYERS).map(layer).collect(), more }
    }

    async fn child(&self, name: &RepositoryName, entry: Descriptor) -> Child {
        let manifest = self.manifest(name, *entry.digest()).await.ok();
        Child {
            platform: platform_of(&entry),
            digest: *entry.digest(),
            size: manifest.map(|manifest| size_of(&manifest, &manifest.links().blobs)),
        }
    }

    /// The tags of cosign's that are there.
    async fn attached(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, StoreError> {
        let tag = |kind: &&str| format!("{}-{}.{kind}", digest.algorithm().as_str(), digest.hex()).parse::<Tag>().ok();
        let mut found = Vec::new();
        for tag in COSIGN.iter().filter_map(tag) {
            if self.store.exists(Key::Tag(name, &tag)).await? {
                found.push(tag);
            }
        }
        Ok(found)
    }
}

impl Fields {
    fn read(manifest: &Manifest) -> Self {
        serde_json::from_slice(manifest.bytes()).unwrap_or_default()
    }
}
