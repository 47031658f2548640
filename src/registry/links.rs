//! Whether a blob belongs to a repository, and whether the bucket has it.
//!
//! A blob is a repository's if a manifest that was pushed to the repository names it, if the bucket has a layer link
//! that says so, or if the upstream does. What a manifest of the upstream's names is not: its author may name any
//! digest, and the bucket may have that from elsewhere. Such a blob counts after the upstream itself answered for it,
//! by the fill or by a HEAD, once for each blob and repository. What only memory knows is written to the bucket as a
//! link, for other replicas and for distribution.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::{Cache, Membership, Standing};
use super::condemned::{Condemned, NotKept};
use super::failure::of_upstream;
use super::flights::{FlightKey, Flights};
use super::holdings::Holdings;
use super::presence::{self, blob_unknown};
use super::provenance::write_link;
use super::runtime::{Background, Moment};
use crate::oci::{Digest, Error, ErrorCode, RepositoryName};
use crate::store::{FilledFor, Key, Store, StoreError, Stored};
use crate::upstream::{UpstreamError, Upstreams};

/// What is known of a blob in a repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlobStatus {
    /// It belongs to the repository.
    pub(super) member: bool,
    /// The bucket has a layer link that says so.
    pub(super) linked: bool,
    /// The size that a manifest of the repository gives it, in bytes. Not to be trusted where it is no member.
    pub(super) announced: Option<u64>,
    /// Its size in the bucket, if it is there.
    pub(super) stored: Option<u64>,
}

/// Knows and writes the links of repositories to blobs.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) condemned: Arc<Condemned>,
    pub(super) background: Arc<Background>,
    /// How many deletes began, of any blob: a push remembers no link if one came between its link and its end.
    pub(super) deletes: AtomicU64,
}

impl Links {
    /// The status of a blob, from memory or else from the bucket: one round trip.
    pub(super) async fn status(&self, name: &RepositoryName, digest: &Digest) -> Result<BlobStatus, Error> {
        let blobs = &self.cache.blobs;
        let (membership, present) = (blobs.membership(name, digest), blobs.present(digest));
        if let Some(membership) = membership.filter(Membership::is_owned)
            && present.is_some()
        {
            return Ok(BlobStatus {
                member: true,
                linked: membership.is_linked(),
                announced: Some(membership.size),
                stored: present,
            });
        }
        // Under the key's lock, so that no lookup remembers what was there before a change.
        let ask = async {
            let (membership, present) = (blobs.membership(name, digest), blobs.present(digest));
            Ok(self.ask_bucket(name, digest, membership, present).await?)
        };
        self.flights.coalesce(FlightKey::Blob(name.clone(), *digest), Box::pin(ask)).await
    }

    /// The status of a blob as the bucket says now, for a push that is acknowledged because of it. Memory that differs
    /// is forgotten.
    pub(super) async fn status_from_bucket(&self, name: &RepositoryName, digest: &Digest) -> Result<BlobStatus, Error> {
        let blobs = &self.cache.blobs;
        let ask = async {
            let status = self.ask_bucket(name, digest, None, None).await?;
            if !status.linked {
                blobs.forget_membership(name, digest);
            }
            if status.stored.is_none() {
                blobs.forget_present(digest);
            }
            Ok(status)
        };
        self.flights.exclusive(FlightKey::Blob(name.clone(), *digest), Box::pin(ask)).await
    }

    async fn ask_bucket(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        membership: Option<Membership>,
        present: Option<u64>,
    ) -> Result<BlobStatus, StoreError> {
        let (store, blobs) = (&self.store, &self.cache.blobs);
        let is_linked = || async { Ok(store.head(Key::Layer(name, digest)).await?.is_some()) };
        let stored = async {
            if present.is_some() {
                return Ok((present, None));
            }
            let found = store.head(Key::Blob(digest)).await?;
            if let Some(found) = found {
                blobs.keep_present(*digest, found);
            }
            Ok((found.map(|found| found.size), found.and_then(|found| found.filled_for)))
        };
        let (linked, stored) = match membership {
            None => {
                let (linked, (stored, _)) = tokio::try_join!(is_linked(), stored)?;
                (linked, stored)
            }
            Some(membership) if membership.is_owned() => (membership.is_linked(), stored.await?.0),
            // A blob that was filled for this repository has its link, and one that is not stored needs none.
            Some(_) => match stored.await? {
                (None, _) => (false, None),
                (size, Some(mark)) if mark == FilledFor::new(name, digest) => (true, size),
                (size, _) => (is_linked().await?, size),
            },
        };
        if let Some(size) = stored
            && linked
        {
            self.keep_linked(name, digest, size);
        }
        let announced = membership.map(|membership| membership.size);
        let member = linked || membership.as_ref().is_some_and(Membership::is_owned);
        Ok(BlobStatus { member, linked, announced, stored })
    }

    /// The size of a blob that is in the bucket. Memory does not count: a push that is acknowledged without its bytes
    /// relies on them.
    pub(super) async fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let found = self.store.head(Key::Blob(digest)).await?;
        match found {
            Some(found) => self.cache.blobs.keep_present(*digest, found),
            // A blob that a push writes now is new, whatever was there before.
            None => self.cache.blobs.forget_present(digest),
        }
        Ok(found.map(|found| found.size))
    }

    /// Makes sure that a blob that is in the bucket belongs to this repository, and that the bucket says so. A blob
    /// that another repository brought belongs to this one only if the upstream says so.
    pub(super) async fn require(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
        status: BlobStatus,
        size: u64,
    ) -> Result<(), Error> {
        if !status.member {
            self.ask_upstream(name, digest).await?;
        }
        if !status.linked {
            self.write_in_background(name.clone(), *digest, size).await;
        }
        Ok(())
    }

    /// Asks the upstream whether the repository has a blob, once for all requests that need it at the same time.
    pub(super) async fn ask_upstream(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let blobs = &self.cache.blobs;
        let ask = async {
            if blobs.membership(name, digest).is_some_and(|membership| membership.is_owned()) {
                return Ok(());
            }
            let asked = self.upstream_size(name, digest).await;
            if let Err(error) = &asked
                && error.code() == ErrorCode::BlobUnknown
            {
                // The next HEAD of a client must not rely on the manifest any longer, so that the client pushes the
                // blob.
                blobs.forget_membership(name, digest);
            }
            let size = asked?;
            if let (Some(size), Some(stored)) = (size, blobs.present(digest))
                && size != stored
            {
                // A proxy in front of the upstream answers every HEAD with 200.
                let cause = format!("it gives {digest} {size} bytes, of {stored}");
                return Err(of_upstream(UpstreamError::Invalid(cause), blob_unknown(name, digest)));
            }
            if let Some(size) = size.or_else(|| blobs.present(digest)) {
                blobs.keep_membership(name, *digest, Membership { size, standing: Standing::Owned });
            }
            Ok(())
        };
        self.flights.coalesce(FlightKey::UpstreamBlob(name.clone(), *digest), ask).await
    }

    /// Asks the upstream whether the repository has a blob, and how large it is.
    pub(super) async fn upstream_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        let Some(upstream) = self.upstreams.of(name) else {
            return Err(blob_unknown(name, digest));
        };
        let asked = upstream.head_blob(name, digest).await;
        asked.map_err(|error| of_upstream(error, blob_unknown(name, digest)))
    }

    /// Writes a layer link in the background.
    async fn write_in_background(self: &Arc<Self>, name: RepositoryName, digest: Digest, size: u64) {
        let (links, repository) = (Arc::clone(self), name.clone());
        let keep = move |links: &Self, name: &RepositoryName, standing| {
            links.cache.blobs.keep_membership(name, digest, Membership { size, standing });
        };
        // First, so that the next request does not write it again; if it fails, a later request will.
        keep(self, &name, Standing::Linked);
        let write = async move {
            if let Err(error) = write_link(&links.store, Key::Layer(&repository, &digest), &digest).await {
                tracing::warn!(%repository, %digest, %error, "the layer link was not written");
                keep(&links, &repository, Standing::Owned);
            }
        };
        if !self.background.run(write).await {
            keep(self, &name, Standing::Owned);
        }
    }

    /// A write begins: [`link_pushed`](Self::link_pushed) is told when. It comes before any look at the bucket.
    pub(super) fn begin(&self) -> Moment {
        self.condemned.begin()
    }

    /// Links a blob that a push put into the bucket, or found there since it `began`, before the push is acknowledged.
    /// One that was found is in the cache with its age.
    ///
    /// # Errors
    /// `UNAVAILABLE`; also where the blob is deleted as garbage just now, or was since it was found.
    pub(super) async fn link_pushed(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        began: Moment,
    ) -> Result<(), Error> {
        let link = async {
            self.write_pushed(name, digest).await?;
            self.cache.blobs.keep_present(*digest, Stored::just_now(size));
            self.keep_linked(name, digest, size);
            Ok::<_, Error>(())
        };
        self.flights.exclusive(FlightKey::Blob(name.clone(), *digest), Box::pin(link)).await?;
        Ok(self.keep_from_deletion(&[name], digest, began).await?)
    }

    /// Keeps a linked blob from being deleted as garbage. If it cannot be kept, memory does not rely on it.
    pub(super) async fn keep_from_deletion(
        &self,
        names: &[&RepositoryName],
        digest: &Digest,
        began: Moment,
    ) -> Result<(), NotKept> {
        let links = names.iter().map(|name| Key::Layer(name, digest));
        let keys: Vec<_> = links.chain([Key::Blob(digest)]).collect();
        let kept = self.condemned.keep(began, &keys).await;
        if kept.is_err() {
            self.forget_deleted(names, digest);
        }
        kept
    }

    /// Forgets a blob that is deleted as garbage.
    pub(super) fn forget_deleted(&self, names: &[&RepositoryName], digest: &Digest) {
        self.cache.blobs.forget_present(digest);
        for name in names {
            self.cache.blobs.forget_membership(name, digest);
        }
    }

    /// Links a blob while `store` puts it into the bucket, of which the push has all bytes and has verified them. So
    /// the push has proved that it has the blob, and a link that is there before the blob, or without it if `store`
    /// fails, grants nothing else: readers look for both. Memory hears of the link when the blob is there, because HEAD
    /// and fills rely on what it says. Neither lookups of the blob nor other pushes of it wait for `store`.
    pub(super) async fn store_pushed(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        began: Moment,
        store: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let key = || FlightKey::Blob(name.clone(), *digest);
        let deletes = self.deletes.load(Ordering::Relaxed);
        let link = self.flights.exclusive(key(), Box::pin(self.write_pushed(name, digest)));
        tokio::try_join!(store, link)?;
        self.cache.blobs.keep_present(*digest, Stored::just_now(size));
        let keep = async {
            // The key's lock orders this after a delete that took the link.
            if self.deletes.load(Ordering::Relaxed) == deletes {
                self.keep_linked(name, digest, size);
            }
        };
        self.flights.exclusive(key(), keep).await;
        Ok(self.keep_from_deletion(&[name], digest, began).await?)
    }

    /// Writes the link of a blob that is pushed. Under the blob's lock.
    async fn write_pushed(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        self.holdings.mark(name).await?;
        Ok(write_link(&self.store, Key::Layer(name, digest), digest).await?)
    }

    fn keep_linked(&self, name: &RepositoryName, digest: &Digest, size: u64) {
        self.cache.blobs.keep_membership(name, *digest, Membership { size, standing: Standing::Linked });
    }

    /// Links a blob that a pushed manifest names, if the bucket has it and it has no link yet.
    pub(super) async fn link_named(&self, name: &RepositoryName, digest: Digest, size: u64) -> Result<(), StoreError> {
        let blobs = &self.cache.blobs;
        if blobs.membership(name, &digest).is_some_and(|membership| membership.is_linked()) {
            return Ok(());
        }
        if blobs.present(&digest).is_some() || self.store.head(Key::Blob(&digest)).await?.is_some() {
            write_link(&self.store, Key::Layer(name, &digest), &digest).await?;
            self.keep_linked(name, &digest, size);
        }
        Ok(())
    }

    /// Links the blob of a fill to every repository that asked for it, after the blob was verified and before it
    /// appears in the bucket. So a process that dies in between leaves a link to a blob that the next request brings,
    /// and never a blob whose readers believe in a link that is not there: replicas that read the blob's metadata, and
    /// this cache, where the manifest was there before the blob. Returns the repositories that have a link.
    pub(super) async fn link_filled(
        &self,
        names: BTreeSet<RepositoryName>,
        digest: Digest,
        size: u64,
    ) -> BTreeSet<RepositoryName> {
        let mut linked = BTreeSet::new();
        for name in names {
            match write_link(&self.store, Key::Layer(&name, &digest), &digest).await {
                Ok(()) => {
                    self.keep_linked(&name, &digest, size);
                    linked.insert(name);
                }
                Err(error) => {
                    tracing::warn!(repository = %name, %digest, %error, "the layer link was not written");
                }
            }
        }
        linked
    }

    /// Remembers the blob of a fill that `began` then, which these repositories are linked to, and links it to those
    /// that asked for it meanwhile. If it is deleted as garbage just now, the next request looks for it again.
    pub(super) async fn blob_filled(
        self: &Arc<Self>,
        linked: &BTreeSet<RepositoryName>,
        late: BTreeSet<RepositoryName>,
        (digest, size): (Digest, u64),
        began: Moment,
    ) {
        self.cache.blobs.keep_present(digest, Stored::just_now(size));
        let names: Vec<&RepositoryName> = linked.iter().collect();
        if let Err(error) = Box::pin(self.keep_from_deletion(&names, &digest, began)).await {
            tracing::warn!(%digest, error = %error.in_background(), "a blob that was filled may be deleted");
            return;
        }
        for name in late {
            self.write_in_background(name, digest, size).await;
        }
    }

    /// Takes a blob from a repository. Its bytes stay in the bucket, because other repositories may have it.
    ///
    /// # Errors
    /// `BLOB_UNKNOWN`, `NAME_UNKNOWN`, `UNAVAILABLE`.
    pub(super) async fn delete(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let (key, begins) = (Key::Layer(name, digest), self.store.bucket_time());
        let delete = async {
            self.deletes.fetch_add(1, Ordering::Relaxed);
            let deleted = async {
                presence::require(&self.store, name, key, blob_unknown(name, digest)).await?;
                Ok(self.store.delete_soon(key, begins).await?)
            };
            let deleted = deleted.await;
            // Also when another replica deleted it already.
            self.cache.blobs.forget_membership(name, digest);
            deleted
        };
        self.flights.exclusive(FlightKey::Blob(name.clone(), *digest), delete).await
    }
}
