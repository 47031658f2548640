//! Every path in the bucket is spelled here.
//!
//! The layout is distribution's, so that either program reads what the other wrote.

use std::fmt;

use uuid::Uuid;

use crate::oci::{Digest, RepositoryName, Tag};

/// A key in the bucket, below the root directory.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// The directory of everything.
    Root,
    /// The bytes of a blob or a manifest. Written once, after they were verified.
    Blob(&'a Digest),
    /// Says that the repository has the blob; holds the digest.
    Layer(&'a RepositoryName, &'a Digest),
    /// Says that the repository has the manifest; holds the digest.
    Revision(&'a RepositoryName, &'a Digest),
    /// The directory of the repositories whose names begin with these components; empty, or ending
    /// in a slash. Below it stand further components, and what begins with `_` is a repository's own.
    Names(&'a str),
    /// Everything that a repository has.
    Repository(&'a RepositoryName),
    /// The directory of a repository's tags.
    Tags(&'a RepositoryName),
    /// The directory of what a tag ever meant.
    TagHistories(&'a RepositoryName, &'a Tag),
    /// What a tag means now; holds the digest.
    Tag(&'a RepositoryName, &'a Tag),
    /// Says that the tag once meant the manifest; holds the digest.
    TagHistory(&'a RepositoryName, &'a Tag, &'a Digest),
    /// The directory of the manifests whose subject is this digest. pounce's own.
    Referrers(&'a RepositoryName, &'a Digest),
    /// The descriptor of a manifest (last) whose subject is the other. pounce's own.
    Referrer(&'a RepositoryName, &'a Digest, &'a Digest),
    /// The directory of the uploads to a repository.
    Uploads(&'a RepositoryName),
    /// The directory of an upload.
    Upload(&'a RepositoryName, &'a Uuid),
    /// Bytes of an upload, under a random name of their own: an upload that was begun twice must not
    /// mix with itself.
    UploadData(&'a RepositoryName, &'a Uuid, &'a Uuid),
    /// Says that the upload was cancelled.
    UploadCancelled(&'a RepositoryName, &'a Uuid),
    /// What `pounce check` writes, and takes away again. pounce's own.
    Check(&'a Uuid),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("docker/registry/v2/")?;
        match self {
            Self::Root => Ok(()),
            Self::Check(id) => write!(f, "_check/{id}"),
            Self::Blob(digest) => {
                let hex = digest.hex();
                write!(
                    f,
                    "blobs/{}/{}/{hex}/data",
                    digest.algorithm().as_str(),
                    &hex[..2]
                )
            }
            Self::Layer(name, digest) => {
                write!(f, "repositories/{name}/_layers/{}/link", Path(digest))
            }
            Self::Revision(name, digest) => {
                write!(
                    f,
                    "repositories/{name}/_manifests/revisions/{}/link",
                    Path(digest)
                )
            }
            Self::Names(components) => write!(f, "repositories/{components}"),
            Self::Repository(name) => write!(f, "repositories/{name}/_"),
            Self::Tags(name) => write!(f, "repositories/{name}/_manifests/tags/"),
            Self::Tag(name, tag) => {
                write!(f, "repositories/{name}/_manifests/tags/{tag}/current/link")
            }
            Self::TagHistories(name, tag) => {
                write!(f, "repositories/{name}/_manifests/tags/{tag}/index/")
            }
            Self::TagHistory(name, tag, digest) => {
                write!(
                    f,
                    "repositories/{name}/_manifests/tags/{tag}/index/{}/link",
                    Path(digest)
                )
            }
            Self::Referrers(name, subject) => {
                write!(
                    f,
                    "repositories/{name}/_manifests/referrers/{}/",
                    Path(subject)
                )
            }
            Self::Referrer(name, subject, digest) => {
                let (subject, digest) = (Path(subject), Path(digest));
                write!(
                    f,
                    "repositories/{name}/_manifests/referrers/{subject}/{digest}/descriptor"
                )
            }
            Self::Uploads(name) => write!(f, "repositories/{name}/_uploads/"),
            Self::Upload(name, id) => write!(f, "repositories/{name}/_uploads/{id}/"),
            Self::UploadData(name, id, own) => {
                write!(f, "repositories/{name}/_uploads/{id}/data-{own}")
            }
            Self::UploadCancelled(name, id) => {
                write!(f, "repositories/{name}/_uploads/{id}/cancelled")
            }
        }
    }
}

/// `algorithm/hex`
struct Path<'a>(&'a Digest);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.algorithm().as_str(), self.0.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_distributions() {
        let name = "org/app".parse().unwrap();
        let tag = "v1".parse().unwrap();
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest = format!("sha256:{hex}").parse().unwrap();
        let root = "docker/registry/v2";
        let repository = format!("{root}/repositories/org/app");
        let expected = [
            (
                Key::Blob(&digest),
                format!("{root}/blobs/sha256/e3/{hex}/data"),
            ),
            (
                Key::Layer(&name, &digest),
                format!("{repository}/_layers/sha256/{hex}/link"),
            ),
            (
                Key::Revision(&name, &digest),
                format!("{repository}/_manifests/revisions/sha256/{hex}/link"),
            ),
            (Key::Tags(&name), format!("{repository}/_manifests/tags/")),
            (
                Key::Tag(&name, &tag),
                format!("{repository}/_manifests/tags/v1/current/link"),
            ),
            (
                Key::TagHistory(&name, &tag, &digest),
                format!("{repository}/_manifests/tags/v1/index/sha256/{hex}/link"),
            ),
        ];
        for (key, path) in expected {
            assert_eq!(key.to_string(), path);
        }
    }
}
