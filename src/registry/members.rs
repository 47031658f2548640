//! Whose a blob is, and whether the bucket has it.
//!
//! A blob is a repository's if a manifest that was pushed to the repository names it, if the bucket has a layer link
//! that says so, or if the upstream does. What a manifest of the upstream's names is not: its author may name any
//! digest, and the bucket may have that from elsewhere. Such a blob counts after the upstream itself answered for it,
//! by the fill or by a HEAD, once for each blob and repository. What only memory knows is written to the bucket as a
//! link, for other replicas and for distribution.

use std::collections::BTreeSet;

use super::Registry;
use super::cache::{Matter, Member, Standing};
use super::failure::{of_store, of_upstream};
use crate::oci::{Digest, Error, ErrorCode, RepositoryName};
use crate::store::{FilledFor, Key, Stored};
use crate::upstream::UpstreamError;

/// What is known of a blob in a repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// It is the repository's.
    pub(super) member: bool,
    /// The bucket says so too.
    pub(super) linked: bool,
    /// The size that a manifest of the repository gives it, in bytes; anybody's word where it is no member.
    pub(super) announced: Option<u64>,
    /// Its size in the bucket, if it is there.
    pub(super) stored: Option<u64>,
}

impl Registry {
    /// What the caches know, or else the bucket: both questions at once, so one round trip.
    pub(super) async fn known(&self, name: &RepositoryName, digest: &Digest) -> Result<Known, Error> {
        let cache = &self.inner.cache;
        let (member, present) = (cache.member(name, digest), cache.present(digest));
        if let Some(member) = member.filter(Member::is_owned)
            && present.is_some()
        {
            return Ok(Known {
                member: true,
                linked: member.is_linked(),
                announced: Some(member.size),
                stored: present,
            });
        }
        // In turn with those who change it, so that nobody remembers what it was before.
        let ask = async {
            let (member, present) = (cache.member(name, digest), cache.present(digest));
            self.ask_bucket(name, digest, member, present).await
        };
        let matter = Matter::Membership(name.clone(), *digest);
        cache.in_turn(matter, Box::pin(ask)).await
    }

    /// What the bucket says now, for a push that is acknowledged on its word. What was remembered otherwise is
    /// forgotten.
    pub(super) async fn known_now(&self, name: &RepositoryName, digest: &Digest) -> Result<Known, Error> {
        let cache = &self.inner.cache;
        let ask = async {
            let known = self.ask_bucket(name, digest, None, None).await?;
            if !known.linked {
                cache.forget_member(name, digest);
            }
            if known.stored.is_none() {
                cache.forget_present(digest);
            }
            Ok(known)
        };
        let matter = Matter::Membership(name.clone(), *digest);
        cache.alone(matter, Box::pin(ask)).await
    }

    async fn ask_bucket(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        member: Option<Member>,
        present: Option<u64>,
    ) -> Result<Known, Error> {
        let (store, cache) = (&self.inner.store, &self.inner.cache);
        let look = || async { Ok(store.head(Key::Layer(name, digest)).await?.is_some()) };
        let stored = async {
            if let Some(size) = present {
                return Ok((Some(size), None));
            }
            let found = store.head(Key::Blob(digest)).await?;
            if let Some(found) = found {
                cache.keep_present(*digest, found);
            }
            let filled_for = found.and_then(|found| found.filled_for);
            Ok((found.map(|found| found.size), filled_for))
        };
        let asked = async {
            match member {
                None => {
                    let (linked, (stored, _)) = tokio::try_join!(look(), stored)?;
                    Ok((linked, stored))
                }
                Some(member) if member.is_owned() => Ok((member.is_linked(), stored.await?.0)),
                // One that was filled for this repository has its link, and one that is not there needs none.
                Some(_) => match stored.await? {
                    (None, _) => Ok((false, None)),
                    (size, Some(mark)) if mark == FilledFor::new(name, digest) => Ok((true, size)),
                    (size, _) => Ok((look().await?, size)),
                },
            }
        };
        let (linked, stored) = asked.await.map_err(of_store)?;
        if let Some(size) = stored
            && linked
        {
            let standing = Standing::Linked;
            cache.keep_member(name, *digest, Member { size, standing });
        }
        let announced = member.map(|member| member.size);
        Ok(Known { member: member.is_some_and(|member| member.is_owned()) || linked, linked, announced, stored })
    }

    /// Makes sure that a blob that is in the bucket is this repository's, and that the bucket says so. One that is
    /// there on another repository's account is this one's only if the upstream says so.
    pub(super) async fn require_member(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        known: Known,
        size: u64,
    ) -> Result<(), Error> {
        if !known.member {
            self.ask_membership(name, digest).await?;
        }
        if !known.linked {
            self.link_layer(name.clone(), *digest, size).await;
        }
        Ok(())
    }

    /// Asks the upstream whether the repository has a blob, once for all requests that need it at the same time.
    pub(super) async fn ask_membership(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let cache = &self.inner.cache;
        let ask = async {
            if cache.member(name, digest).is_none_or(|it| !it.is_owned()) {
                let asked = self.upstream_size(name, digest).await;
                if let Err(error) = &asked
                    && error.code() == ErrorCode::BlobUnknown
                {
                    // A HEAD must not believe a manifest any longer, so that clients push the blob.
                    cache.forget_member(name, digest);
                }
                let size = asked?;
                if let (Some(size), Some(stored)) = (size, cache.present(digest))
                    && size != stored
                {
                    // Something in front of the upstream answers everything.
                    let cause = format!("it gives {digest} {size} bytes, of {stored}");
                    return Err(of_upstream(UpstreamError::Invalid(cause), blob_unknown(name, digest)));
                }
                if let Some(size) = size.or_else(|| cache.present(digest)) {
                    cache.keep_member(name, *digest, Member { size, standing: Standing::Owned });
                }
            }
            Ok(())
        };
        cache.in_turn(Matter::Blob(name.clone(), *digest), ask).await
    }

    /// Writes a layer link behind the client's back.
    async fn link_layer(&self, name: RepositoryName, digest: Digest, size: u64) {
        let (registry, repository) = (self.clone(), name.clone());
        let keep = move |registry: &Self, name: &RepositoryName, standing| {
            let cache = &registry.inner.cache;
            cache.keep_member(name, digest, Member { size, standing });
        };
        // First, so that the next request does not write it again; if it fails, one after a while will.
        keep(self, &name, Standing::Linked);
        let work = async move {
            if let Err(error) = registry.write_link(Key::Layer(&repository, &digest), &digest).await {
                tracing::warn!(%repository, %digest, %error, "the layer link was not written");
                keep(&registry, &repository, Standing::Owned);
            }
        };
        if !self.inner.background.run(work).await {
            keep(self, &name, Standing::Owned);
        }
    }

    /// Asks the upstream whether the repository has a blob, and how large it is.
    pub(super) async fn upstream_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        let unknown = || blob_unknown(name, digest);
        let Some(upstream) = self.upstream(name) else {
            return Err(unknown());
        };
        let asked = upstream.head_blob(name, digest).await;
        asked.map_err(|error| of_upstream(error, unknown()))
    }

    /// A push put a blob into the bucket, or found it there: it becomes the repository's before the push is
    /// acknowledged. One that was found is in the cache with its age.
    pub(super) async fn blob_pushed(&self, name: &RepositoryName, digest: &Digest, size: u64) -> Result<(), Error> {
        let cache = &self.inner.cache;
        let link = async {
            self.mark_holding(name).await.map_err(of_store)?;
            let written = self.write_link(Key::Layer(name, digest), digest).await;
            written.map_err(of_store)?;
            cache.keep_present(*digest, Stored::just_now(size));
            let standing = Standing::Linked;
            cache.keep_member(name, *digest, Member { size, standing });
            Ok(())
        };
        let matter = Matter::Membership(name.clone(), *digest);
        cache.alone(matter, link).await
    }

    /// A fill's blob is verified, and about to appear in the bucket: every repository that asked for it gets its link
    /// before. A process that dies in between leaves a link to what the next request brings, and not a blob of which
    /// whoever knows its manifest believes that it has a link. (So does this cache, where the manifest was there before
    /// the blob: it is not asked.) Returns those that have one.
    pub(super) async fn link_filled(
        &self,
        names: BTreeSet<RepositoryName>,
        digest: Digest,
        size: u64,
    ) -> BTreeSet<RepositoryName> {
        let mut linked = BTreeSet::new();
        for name in names {
            match self.write_link(Key::Layer(&name, &digest), &digest).await {
                Ok(()) => {
                    let standing = Standing::Linked;
                    let member = Member { size, standing };
                    self.inner.cache.keep_member(&name, digest, member);
                    linked.insert(name);
                }
                Err(error) => {
                    tracing::warn!(repository = %name, %digest, %error, "the layer link was not written");
                }
            }
        }
        linked
    }

    /// A fill put a blob into the bucket: repositories that asked for it meanwhile get their links.
    pub(super) async fn blob_stored(&self, names: BTreeSet<RepositoryName>, digest: Digest, size: u64) {
        let stored = Stored::just_now(size);
        self.inner.cache.keep_present(digest, stored);
        for name in names {
            self.link_layer(name, digest, size).await;
        }
    }
}

pub(super) fn blob_unknown(name: &RepositoryName, digest: &Digest) -> Error {
    Error::new(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}
