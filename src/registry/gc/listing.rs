//! What a round found, as an operator reads it: which tag, which manifest, and why.

use std::io;
use std::time::SystemTime;

use futures_util::stream::BoxStream;

use super::facts::{Candidate, CandidateKind, Reason};
use super::requests::RequestKind;
use super::round::{Round, RoundError};
use crate::oci::{Descriptor, Digest, Links, Manifest, RepositoryName};
use crate::registry::runtime::buffered;
use crate::store::{Key, RepositoryObject, blob_digest, split_repository};

/// How many tags and manifests are looked at at once.
const PARALLEL: usize = 16;

/// Something that goes, unless it is needed again before.
#[derive(Clone, Debug)]
pub struct GoingKey {
    /// What it is.
    pub kind: CandidateKind,
    /// Its repository; a blob has none.
    pub repository: Option<String>,
    /// Its tag, if it is of one.
    pub tag: Option<String>,
    /// What it is, or what it names.
    pub digest: Option<Digest>,
    /// Of a tag or a manifest, the bytes of its image, which others may need; else its own.
    pub size: u64,
    /// When the manifest was last pulled, where that is known.
    pub pulled: Option<SystemTime>,
    /// Why it goes.
    pub reason: Reason,
    /// Its key in the bucket.
    pub path: String,
}

impl Round {
    /// What the survey found, in the order in which it would be deleted: tags and manifests, or everything. Two requests
    /// for each tag, and one for each manifest.
    pub fn going(&self, everything: bool) -> BoxStream<'_, Result<GoingKey, RoundError>> {
        let is_wanted = move |found: &io::Result<Candidate>| {
            everything
                || found.as_ref().map_or(true, |it| matches!(it.kind, CandidateKind::Tag | CandidateKind::Revision))
        };
        let wanted = self.surveyed.survey.candidates().filter(is_wanted);
        buffered(PARALLEL, wanted, async |candidate| Ok(self.describe(candidate?).await))
    }

    async fn describe(&self, candidate: Candidate) -> GoingKey {
        let Candidate { kind, path, size, reason } = candidate;
        let mut going = GoingKey { kind, repository: None, tag: None, digest: None, size, pulled: None, reason, path };
        going.digest = blob_digest(&going.path);
        let Some((name, object)) = parse(&going.path) else {
            return going;
        };
        going.repository = Some(name.to_string());
        match object {
            RepositoryObject::Tag(tag) => {
                self.pace.wait(RequestKind::Get).await;
                // It may go meanwhile.
                let link = self.store.get(Key::Tag(&name, &tag)).await.ok().flatten();
                going.digest = link.and_then(|link| link.digest());
                going.tag = Some(tag.to_string());
            }
            RepositoryObject::TagHistory(tag, digest) => {
                going.tag = Some(tag.to_string());
                going.digest = Some(digest);
            }
            RepositoryObject::TagPush(tag) => going.tag = Some(tag.to_string()),
            RepositoryObject::Layer(digest)
            | RepositoryObject::Revision(digest)
            | RepositoryObject::Referrer(_, digest) => going.digest = Some(digest),
            RepositoryObject::Upload | RepositoryObject::Pushed => {}
        }
        if let Some(digest) = going.digest.filter(|_| matches!(kind, CandidateKind::Tag | CandidateKind::Revision)) {
            going.pulled = self.surveyed.history.as_ref().and_then(|history| history.last(&name, &digest));
            going.size = self.image_size(&digest).await.unwrap_or(going.size);
        }
        going
    }

    /// The bytes of a manifest, and of what it names.
    async fn image_size(&self, digest: &Digest) -> Option<u64> {
        self.pace.wait(RequestKind::Get).await;
        let object = self.store.get(Key::Blob(digest)).await.ok()??;
        let manifest = Manifest::new(object.bytes, object.media_type, Some(*digest)).ok()?;
        let Links { blobs, manifests } = manifest.links();
        let named = manifests.iter().chain(&blobs).map(Descriptor::size);
        Some(named.fold(manifest.bytes().len() as u64, u64::saturating_add))
    }
}

/// The repository of a key, and what it is there.
fn parse(path: &str) -> Option<(RepositoryName, RepositoryObject)> {
    let below = path.strip_prefix(&Key::Names("").to_string())?;
    let (name, rest) = split_repository(below)?;
    Some((name.parse().ok()?, RepositoryObject::parse(rest)?))
}
