//! What refers to manifests: signatures and the like live and die with their subject. So where a push needs a condemned
//! manifest again, they are kept, too.

use std::collections::BTreeSet;

use super::Manifests;
use crate::oci::{Digest, Error, RepositoryName, Tag};
use crate::registry::condemned::NotKept;
use crate::registry::runtime::Moment;
use crate::store::{Key, StoreError};

/// How many manifests are looked at for what refers to them, and what refers to that in turn.
const SUBJECTS: usize = 1000;
/// How many keys of one directory are listed at once, and the most pages.
const PAGE: i32 = 1000;
const PAGES: usize = 10;
/// The length of such a tag without an ending: the algorithm, and 64 digits of the digest.
const STEM: usize = "sha256-".len() + 64;

/// What refers to a manifest.
struct Attached {
    subject: Digest,
    digest: Digest,
    /// By this tag.
    tag: Option<Tag>,
}

impl Manifests {
    /// Keeps what refers to these manifests, as far as it is there. What is being deleted just now is lost.
    pub(super) async fn keep_attached(
        &self,
        name: &RepositoryName,
        began: Moment,
        mut subjects: Vec<Digest>,
    ) -> Result<(), Error> {
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        while let Some(subject) = subjects.pop()
            && seen.len() < SUBJECTS
        {
            if seen.insert(subject) {
                let found = self.attached(name, subject).await?;
                subjects.extend(found.iter().map(|it| it.digest));
                all.extend(found);
            }
        }
        let mut keys = Vec::new();
        for Attached { subject, digest, tag } in &all {
            match tag {
                Some(tag) => {
                    keys.extend([Key::Tag(name, tag), Key::TagHistory(name, tag, digest), Key::TagPush(name, tag)]);
                }
                None => keys.push(Key::Referrer(name, subject, digest)),
            }
            keys.extend([Key::Revision(name, digest), Key::Blob(digest)]);
        }
        match self.condemned.keep_first(began, &keys, 0).await {
            Ok(_) | Err(NotKept::Deleting(_) | NotKept::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The entries among a manifest's referrers, and the tags that are about it: the referrers tag schema of the
    /// distribution spec, and those of cosign, which begin in the same way.
    async fn attached(&self, name: &RepositoryName, subject: Digest) -> Result<Vec<Attached>, StoreError> {
        let mut all = Vec::new();
        for path in self.below(Key::Referrers(name, &subject), "").await? {
            let digest = path.strip_suffix("/descriptor").and_then(|path| path.replacen('/', ":", 1).parse().ok());
            all.extend(digest.map(|digest| Attached { subject, digest, tag: None }));
        }
        let stem: String = subject.to_string().replacen(':', "-", 1).chars().take(STEM).collect();
        for path in self.below(Key::Tags(name), &stem).await? {
            let Some(tag) = path.strip_suffix("/current/link").and_then(|tag| tag.parse::<Tag>().ok()) else {
                continue;
            };
            let link = self.store.leader().get(Key::Tag(name, &tag)).await?;
            let digest = link.and_then(|link| link.digest());
            all.extend(digest.map(|digest| Attached { subject, digest, tag: Some(tag) }));
        }
        Ok(all)
    }

    /// The paths below a directory that begin with a text.
    async fn below(&self, directory: Key<'_>, beginning: &str) -> Result<Vec<String>, StoreError> {
        let (mut all, mut after) = (Vec::new(), (!beginning.is_empty()).then(|| beginning.to_owned()));
        for _ in 0..PAGES {
            let (page, more) = self.store.leader().objects(directory, after.as_deref(), PAGE).await?;
            after = page.last().map(|last| last.path.clone());
            let is_over = after.as_ref().is_none_or(|last| !more || !last.starts_with(beginning));
            all.extend(page.into_iter().map(|it| it.path).filter(|path| path.starts_with(beginning)));
            if is_over {
                break;
            }
        }
        Ok(all)
    }
}
