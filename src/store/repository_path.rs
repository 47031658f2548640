//! Paths of the bucket, read back into what they are: the inverse of [`Key`](super::Key), for those that walk the whole
//! bucket. What neither pounce nor distribution writes is not understood, and belongs to strangers.

use crate::oci::{Digest, Tag};

/// An object of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryObject {
    /// [`Key::Layer`](super::Key::Layer)
    Layer(Digest),
    /// [`Key::Revision`](super::Key::Revision)
    Revision(Digest),
    /// [`Key::Tag`](super::Key::Tag)
    Tag(Tag),
    /// [`Key::TagHistory`](super::Key::TagHistory)
    TagHistory(Tag, Digest),
    /// [`Key::TagPush`](super::Key::TagPush)
    TagPush(Tag),
    /// [`Key::Referrer`](super::Key::Referrer): the subject, and the manifest that refers to it.
    Referrer(Digest, Digest),
    /// Anything below [`Key::Uploads`](super::Key::Uploads).
    Upload,
    /// [`Key::Pushed`](super::Key::Pushed)
    Pushed,
}

/// Splits a path below [`Key::Names`](super::Key::Names)`("")` into the repository's name and the path below the
/// repository; `None` if it is in no repository. The name may be one that no repository can have.
#[must_use]
pub fn split_repository(path: &str) -> Option<(&str, &str)> {
    // No component of a name begins with an underscore.
    let slash = path.find("/_")?;
    Some((&path[..slash], &path[slash + 1..]))
}

impl RepositoryObject {
    /// Reads a path below a repository; `None` for one that is a stranger's.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (directory, rest) = path.split_once('/')?;
        match directory {
            "_layers" => link(rest).map(Self::Layer),
            "_manifests" => Self::parse_manifests(rest),
            "_uploads" => Some(Self::Upload),
            "_pushed" => (rest == "link").then_some(Self::Pushed),
            _ => None,
        }
    }

    fn parse_manifests(path: &str) -> Option<Self> {
        let (directory, rest) = path.split_once('/')?;
        match directory {
            "revisions" => link(rest).map(Self::Revision),
            "tags" => {
                let (tag, rest) = rest.split_once('/')?;
                let tag = tag.parse().ok()?;
                match rest.strip_prefix("index/") {
                    Some(entry) => link(entry).map(|digest| Self::TagHistory(tag, digest)),
                    None => (rest == "current/link").then_some(Self::Tag(tag)),
                }
            }
            "pushed" => rest.strip_suffix("/link")?.parse().ok().map(Self::TagPush),
            "referrers" => {
                let (subject, rest) = digest(rest)?;
                let (referrer, rest) = digest(rest)?;
                (rest == "descriptor").then_some(Self::Referrer(subject, referrer))
            }
            _ => None,
        }
    }
}

/// `algorithm/hex/link`
fn link(path: &str) -> Option<Digest> {
    digest(path).filter(|(_, rest)| *rest == "link").map(|(digest, _)| digest)
}

/// `algorithm/hex/…`
fn digest(path: &str) -> Option<(Digest, &str)> {
    let slash = path.find('/')?;
    let end = slash + 1 + path[slash + 1..].find('/')?;
    let digest = path[..end].replacen('/', ":", 1).parse().ok()?;
    Some((digest, &path[end + 1..]))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::oci::{Algorithm, RepositoryName};
    use crate::store::Key;

    fn parsed(key: Key<'_>) -> Option<(String, RepositoryObject)> {
        let path = key.to_string();
        let below = path.strip_prefix(&Key::Names("").to_string())?.to_owned();
        let (name, rest) = split_repository(&below)?;
        Some((name.to_owned(), RepositoryObject::parse(rest)?))
    }

    #[test]
    fn the_keys_of_repositories_are_read_as_they_are_written() {
        let id = Uuid::from_u128(7);
        for name in ["a", "org/app", "a/b_c/d__e", "ghcr.io/0/x--y"] {
            let name: RepositoryName = name.parse().unwrap();
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let (one, two) = (Digest::of(algorithm, b"1"), Digest::of(algorithm, b"2"));
                for tag in ["v1", "_x", "current", "index", "sha256-abc.sig"] {
                    let tag: Tag = tag.parse().unwrap();
                    for (key, object) in [
                        (Key::Layer(&name, &one), RepositoryObject::Layer(one)),
                        (Key::Revision(&name, &one), RepositoryObject::Revision(one)),
                        (Key::Tag(&name, &tag), RepositoryObject::Tag(tag.clone())),
                        (Key::TagHistory(&name, &tag, &two), RepositoryObject::TagHistory(tag.clone(), two)),
                        (Key::TagPush(&name, &tag), RepositoryObject::TagPush(tag.clone())),
                        (Key::Referrer(&name, &one, &two), RepositoryObject::Referrer(one, two)),
                        (Key::UploadData(&name, &id, &id), RepositoryObject::Upload),
                        (Key::Pushed(&name), RepositoryObject::Pushed),
                    ] {
                        assert_eq!(parsed(key), Some((name.to_string(), object)), "{key}");
                    }
                }
            }
        }
    }

    #[test]
    fn strangers_are_not_understood() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for path in [
            "",
            "_layers",
            "_layers/",
            "_layers/link",
            &format!("_layers/sha256/{hex}"),
            &format!("_layers/sha256/{hex}/"),
            &format!("_layers/sha256/{hex}/link/more"),
            &format!("_layers/sha256/{hex}/other"),
            &format!("_layers/md5/{hex}/link"),
            &format!("_layers/sha256/{}/link", hex.to_uppercase()),
            &format!("_layers/sha256/{}/link", &hex[1..]),
            &format!("_layers/{hex}/link"),
            "_manifests/revisions/link",
            "_manifests/tags/v1/link",
            "_manifests/tags/v1/current/link/more",
            "_manifests/tags/-/current/link",
            "_manifests/tags/v1/index/link",
            "_manifests/pushed/v1",
            "_manifests/pushed/a/b/link",
            &format!("_manifests/referrers/sha256/{hex}/descriptor"),
            "_pushed/other",
            "_other/link",
        ] {
            assert_eq!(RepositoryObject::parse(path), None, "{path}");
        }
        assert_eq!(split_repository("a/b"), None);
        assert_eq!(split_repository("a/b/_x"), Some(("a/b", "_x")));
    }
}
