//! Making things warm before somebody asks for them.

use super::Registry;
use super::cold::{Begun, wanted};
use super::failure::of_store;
use super::members::{Known, blob_unknown};
use crate::oci::{Descriptor, Digest, Error, Manifest, Reference, RepositoryName};
use crate::store::Key;

/// What was done for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmed {
    /// Nothing: the bucket had it.
    Already,
    /// It was copied, so many bytes.
    Copied(u64),
}

/// A manifest that is going to be warm.
#[derive(Clone, Debug)]
pub struct WarmManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// The bucket has had it, under this reference.
    pub already: bool,
    /// The upstream could not be asked whether the tag still means this.
    pub stale: bool,
}

impl Registry {
    /// The repository that a reference to an image means: its `host`, if it names one, and its `name`. As in clients'
    /// references, official images of Docker Hub need not say `library/`.
    ///
    /// # Errors
    /// `NAME_UNKNOWN`: no upstream is configured for the host.
    pub fn referenced(&self, name: RepositoryName, host: Option<&str>) -> Result<RepositoryName, Error> {
        let name = self.repository(name, host)?;
        let upstream = self.upstream(&name);
        Ok(upstream.map_or(name.clone(), |upstream| upstream.full_name(&name)))
    }

    /// Fetches a manifest and stores it. A tag's link may follow later; [`is_warm`](Self::is_warm) tells when it is
    /// there.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest); and `UNAVAILABLE` if the bucket does not take it.
    pub async fn warm_manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<WarmManifest, Error> {
        let served = self.manifest(name, reference, &[]).await?;
        let manifest = served.manifest;
        let already = self.is_warm(name, reference, manifest.digest()).await?;
        if !already {
            self.write_manifest(name, &manifest).await.map_err(of_store)?;
        }
        Ok(WarmManifest { manifest, already, stale: served.stale.is_some() })
    }

    /// Whether the bucket has a manifest, and under its tag if the reference is one.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn is_warm(&self, name: &RepositoryName, reference: &Reference, digest: Digest) -> Result<bool, Error> {
        let store = &self.inner.store;
        let tagged = async {
            match reference {
                Reference::Digest(_) => Ok(true),
                Reference::Tag(tag) => {
                    let link = store.get(Key::Tag(name, tag)).await?;
                    Ok(link.and_then(|link| link.digest()) == Some(digest))
                }
            }
        };
        let (tagged, link, blob) =
            tokio::try_join!(tagged, store.head(Key::Revision(name, &digest)), store.head(Key::Blob(&digest)))
                .map_err(of_store)?;
        Ok(tagged && link.is_some() && blob.is_some())
    }

    /// Copies a blob into the bucket unless it is there, and tells `progress` how many bytes are here. Returns when the
    /// bucket has it.
    ///
    /// # Errors
    /// As [`blob`](Self::blob); `UNAVAILABLE` too if it could not be stored.
    pub async fn warm_blob(
        &self,
        name: &RepositoryName,
        blob: &Descriptor,
        progress: impl Fn(u64),
    ) -> Result<Warmed, Error> {
        let digest = blob.digest();
        let known = self.known(name, digest).await?;
        if let Some(size) = known.stored {
            self.require_member(name, digest, known, size).await?;
            return Ok(Warmed::Already);
        }
        let Some(upstream) = self.upstream(name) else {
            return Err(blob_unknown(name, digest));
        };
        let known = Known { announced: Some(blob.size()), ..known };
        let wanted = wanted(upstream, name, digest);
        match self.join(&wanted, known).await? {
            Begun::Stored(size) => {
                self.require_member(name, digest, known, size).await?;
                Ok(Warmed::Already)
            }
            Begun::Flow(flow, fill, _) => {
                let mut bytes = 0;
                while let Some(more) = flow.beyond(bytes).await {
                    bytes = more;
                    progress(bytes);
                }
                fill.stored().await.map(Warmed::Copied)
            }
            Begun::NoRoom(why) => {
                let copied = self.copy_without_spool(&wanted, &why, progress).await;
                copied.map(Warmed::Copied)
            }
        }
    }
}
