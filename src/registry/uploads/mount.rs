//! Mounting (end-11): a blob of another repository becomes this one's, without any bytes.

use super::Progress;
use crate::oci::{Digest, Error, RepositoryName};
use crate::registry::Registry;
use crate::registry::failure::of_store;
use crate::store::Key;

/// What became of a mount.
#[derive(Clone, Debug)]
pub enum Mounted {
    /// The blob is the repository's.
    Stored,
    /// There is no such blob to mount; an upload began instead.
    Begun(Progress),
}

impl Registry {
    /// Mounts a blob from a repository, or from wherever it is.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Mounted, Error> {
        self.writable()?;
        let size = match from {
            // A repository has a blob only if it is in the bucket: what it could pull from the upstream is not there to
            // be mounted.
            Some(source) => {
                let known = self.known_now(source, digest).await?;
                known.stored.filter(|_| known.member)
            }
            None => self.stored_size(digest).await?,
        };
        if let Some(size) = size {
            self.blob_pushed(name, digest, size).await?;
            return Ok(Mounted::Stored);
        }
        self.begin_upload(name, digest.algorithm()).map(Mounted::Begun)
    }

    /// The size of a blob that is in the bucket. What is remembered does not count: a push that is acknowledged without
    /// its bytes relies on them.
    pub(in crate::registry) async fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let inner = &self.inner;
        let found = inner.store.head(Key::Blob(digest)).await.map_err(of_store)?;
        match found {
            Some(found) => inner.cache.keep_present(*digest, found),
            // What a push writes now is new, whatever was there before.
            None => inner.cache.forget_present(digest),
        }
        Ok(found.map(|found| found.size))
    }
}
