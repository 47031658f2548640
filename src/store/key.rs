//! Every path in the bucket, and how it is spelled.
//!
//! The layout is distribution's, so that either program reads what the other wrote. What fills keep while they run
//! ([`fill_path`](super::fill_path)), and notes of what was pulled, lie outside of it: distribution's garbage collection
//! does not walk there, and a lifecycle rule of the bucket can be for that alone.

use std::fmt;

use uuid::Uuid;

use super::fill_path::UpstreamId;
use crate::oci::{Digest, RepositoryName, Tag};

/// A key in the bucket, below the root directory.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// The directory of everything.
    Root,
    /// The directory of all blobs and manifests.
    Blobs,
    /// The bytes of a blob or a manifest. Written once, after verification.
    Blob(&'a Digest),
    /// The link by which the repository has the blob; holds the digest.
    Layer(&'a RepositoryName, &'a Digest),
    /// The link by which the repository has the manifest; holds the digest.
    Revision(&'a RepositoryName, &'a Digest),
    /// The directory of the repositories whose names begin with these components; empty, or ending in a slash. Below it
    /// are further components. Entries that begin with `_` are those of a repository itself.
    Names(&'a str),
    /// The prefix of everything that a repository has.
    Repository(&'a RepositoryName),
    /// Marks a repository that something was pushed to. pounce's own, outside the directories by which distribution
    /// lists repositories.
    Pushed(&'a RepositoryName),
    /// The directory of the links to a repository's manifests.
    Revisions(&'a RepositoryName),
    /// The directory of a repository's tags.
    Tags(&'a RepositoryName),
    /// The directory of a tag's history.
    TagHistories(&'a RepositoryName, &'a Tag),
    /// The tag's `current/link`; holds the digest of its manifest.
    Tag(&'a RepositoryName, &'a Tag),
    /// The entry of a manifest in the tag's history; holds the digest.
    TagHistory(&'a RepositoryName, &'a Tag, &'a Digest),
    /// Marks a tag that was pushed, in a bucket that ignores conditions; holds the digest. pounce's own, and not below
    /// the tag's directory, where it would make the tag be listed.
    TagPush(&'a RepositoryName, &'a Tag),
    /// The directory of the manifests whose subject is this digest. pounce's own.
    Referrers(&'a RepositoryName, &'a Digest),
    /// The descriptor of a manifest (last) whose subject is the other. pounce's own.
    Referrer(&'a RepositoryName, &'a Digest, &'a Digest),
    /// The directory of the uploads to a repository.
    Uploads(&'a RepositoryName),
    /// The directory of an upload.
    Upload(&'a RepositoryName, &'a Uuid),
    /// Bytes of an upload, under a random name, so that two multipart uploads for the same upload never mix.
    UploadData(&'a RepositoryName, &'a Uuid, &'a Uuid),
    /// The last bytes of a request that brought an upload to this offset, under a random name. The greater the offset,
    /// the earlier it is listed.
    UploadTail(&'a RepositoryName, &'a Uuid, u64, &'a Uuid),
    /// Marks an upload that was cancelled.
    UploadCancelled(&'a RepositoryName, &'a Uuid),
    /// What garbage collections remember of manifests: one of 256 segments. pounce's own.
    KnownManifests(u8),
    /// The directory of what garbage collections remember.
    GcDirectory,
    /// When the last round of garbage collection ended, and what it did.
    GcRound,
    /// What each repository takes, by the last survey. pounce's own.
    GcFigures,
    /// Manifests that were remembered there, and whose bytes were gone at the last survey.
    GoneManifests,
    /// The directory of the objects by which the bucket is tested.
    Checks,
    /// An object that `pounce check`, or a process that tests its bucket, writes and deletes again. pounce's own.
    Check(&'a Uuid),
    /// The same, among the notes of what was pulled.
    PullsCheck(&'a Uuid),
    /// The same, among what garbage collections remember.
    GcCheck(&'a Uuid),
    /// The object that clients' own keys read when they log in. pounce's own; written once.
    Login,
    /// No object: clients' own keys delete it when they log in.
    NoLogin,
    /// The directory of all fills. pounce's own, as all keys of fills.
    FillLeases,
    /// The directory of the fills of a blob from one upstream.
    Fill(&'a Digest, UpstreamId),
    /// The lease by which one process at a time fills the blob from that upstream.
    FillLease(&'a Digest, UpstreamId),
    /// The directory of the chunks and heads that one process stored, under its random generation.
    FillChunks(&'a Digest, UpstreamId, &'a Uuid),
    /// The bytes of the blob from this offset on: a whole chunk. Written once.
    FillChunk(&'a Digest, UpstreamId, &'a Uuid, u64),
    /// The bytes of the blob up to this offset: the beginning of a chunk that is not whole yet, or a part of it. Written
    /// once.
    FillHead(&'a Digest, UpstreamId, &'a Uuid, u64),
    /// The chunks that the clients of another process wait for; the id is that process's.
    FillWant(&'a Digest, UpstreamId, &'a Uuid),
    /// The directory of the notes of what was pulled. pounce's own.
    PullNotes,
    /// What one process noted in an hour of a day, which is written `2026-11-29`, under a random name.
    PullNote(&'a str, u8, &'a Uuid),
    /// Which keys are condemned, and which process collects garbage. pounce's own, as all keys of garbage collection,
    /// and outside of the directories in which distribution looks. Every push reads it, so it lies where credentials
    /// may read in any case.
    GcState,
    /// The directory of all batches of condemned keys.
    GcBatches,
    /// The directory of a batch.
    GcBatch(&'a Uuid),
    /// The hashes of a batch's keys. Written once.
    GcCondemned(&'a Uuid),
    /// What was decided about a group of a batch's keys. Written once.
    GcDecision(&'a Uuid, GcGroup),
    /// A path that was listed, as another key spells it.
    Path(&'a str),
}

/// Keys of one batch that are decided about together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GcGroup {
    /// The key whose hash begins so.
    One(u64),
    /// Links to blobs, and bytes: those whose hashes begin with the same 10 bits.
    Content(u16),
}

/// The digest in the path of a [`Key::Blob`], below any root directory.
#[must_use]
pub fn blob_digest(path: &str) -> Option<Digest> {
    let (_, path) = path.rsplit_once("docker/registry/v2/blobs/")?;
    let mut parts = path.split('/');
    let (algorithm, start, hex) = (parts.next()?, parts.next()?, parts.next()?);
    let is_blob = parts.eq(["data"]) && hex.starts_with(start);
    let digest = format!("{algorithm}:{hex}");
    digest.parse().ok().filter(|_| is_blob)
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FillLeases
            | Self::Fill(..)
            | Self::FillLease(..)
            | Self::FillChunks(..)
            | Self::FillChunk(..)
            | Self::FillHead(..)
            | Self::FillWant(..) => "pounce/fills/",
            Self::KnownManifests(_) | Self::GoneManifests => "pounce/gc/manifests/",
            Self::GcDirectory | Self::GcRound | Self::GcFigures | Self::GcCheck(_) => "pounce/gc/",
            Self::PullNotes | Self::PullNote(..) | Self::PullsCheck(_) => "pounce/pulled/",
            Self::Path(_) => "",
            _ => "docker/registry/v2/",
        })?;
        match self {
            Self::Root | Self::FillLeases | Self::PullNotes | Self::GcDirectory => Ok(()),
            Self::PullNote(day, hour, id) => write!(f, "{day}/{hour:02}-{id}"),
            Self::Login => write!(f, "_login/read"),
            Self::NoLogin => write!(f, "_login/absent"),
            Self::Checks => write!(f, "_check/"),
            Self::Check(id) | Self::PullsCheck(id) | Self::GcCheck(id) => write!(f, "_check/{id}/data"),
            Self::Blobs => write!(f, "blobs/"),
            Self::GoneManifests => write!(f, "gone"),
            Self::KnownManifests(segment) => write!(f, "{segment:02x}"),
            Self::Blob(digest) => {
                let hex = digest.hex();
                write!(f, "blobs/{}/{}/{hex}/data", digest.algorithm().as_str(), &hex[..2])
            }
            Self::Layer(name, digest) => {
                write!(f, "repositories/{name}/_layers/{}/link", Path(digest))
            }
            Self::Revision(name, digest) => {
                write!(f, "repositories/{name}/_manifests/revisions/{}/link", Path(digest))
            }
            Self::Names(components) => write!(f, "repositories/{components}"),
            Self::Repository(name) => write!(f, "repositories/{name}/_"),
            Self::Pushed(name) => write!(f, "repositories/{name}/_pushed/link"),
            Self::Revisions(name) => write!(f, "repositories/{name}/_manifests/revisions/"),
            Self::Tags(name) => write!(f, "repositories/{name}/_manifests/tags/"),
            Self::Tag(name, tag) => {
                write!(f, "repositories/{name}/_manifests/tags/{tag}/current/link")
            }
            Self::TagHistories(name, tag) => {
                write!(f, "repositories/{name}/_manifests/tags/{tag}/index/")
            }
            Self::TagHistory(name, tag, digest) => {
                write!(f, "repositories/{name}/_manifests/tags/{tag}/index/{}/link", Path(digest))
            }
            Self::TagPush(name, tag) => {
                write!(f, "repositories/{name}/_manifests/pushed/{tag}/link")
            }
            Self::Referrers(name, subject) => {
                write!(f, "repositories/{name}/_manifests/referrers/{}/", Path(subject))
            }
            Self::Referrer(name, subject, digest) => {
                let (subject, digest) = (Path(subject), Path(digest));
                write!(f, "repositories/{name}/_manifests/referrers/{subject}/{digest}/descriptor")
            }
            Self::Uploads(name) => write!(f, "repositories/{name}/_uploads/"),
            Self::Upload(name, id) => write!(f, "repositories/{name}/_uploads/{id}/"),
            Self::UploadData(name, id, own) => {
                write!(f, "repositories/{name}/_uploads/{id}/data-{own}")
            }
            Self::UploadTail(name, id, offset, own) => {
                let left = u64::MAX - offset;
                write!(f, "repositories/{name}/_uploads/{id}/chunk-{left:016x}-{own}")
            }
            Self::UploadCancelled(name, id) => {
                write!(f, "repositories/{name}/_uploads/{id}/cancelled")
            }
            Self::Fill(digest, upstream) => write!(f, "{}/{upstream}/", Path(digest)),
            Self::FillLease(digest, upstream) => write!(f, "{}/{upstream}/lease", Path(digest)),
            Self::FillChunks(digest, upstream, generation) => {
                write!(f, "{}/{upstream}/{generation}/", Path(digest))
            }
            Self::FillChunk(digest, upstream, generation, offset) => {
                write!(f, "{}/{upstream}/{generation}/{offset:016x}", Path(digest))
            }
            Self::FillHead(digest, upstream, generation, end) => {
                write!(f, "{}/{upstream}/{generation}/head-{end:016x}", Path(digest))
            }
            Self::FillWant(digest, upstream, process) => {
                write!(f, "{}/{upstream}/wants-{process}", Path(digest))
            }
            Self::GcState => write!(f, "_gc/state"),
            Self::GcRound => write!(f, "round"),
            Self::GcFigures => write!(f, "repositories"),
            Self::GcBatches => write!(f, "_gc/batches/"),
            Self::GcBatch(id) => write!(f, "_gc/batches/{id}/"),
            Self::GcCondemned(id) => write!(f, "_gc/batches/{id}/condemned"),
            Self::GcDecision(id, GcGroup::One(hash)) => write!(f, "_gc/batches/{id}/decisions/{hash:016x}"),
            Self::GcDecision(id, GcGroup::Content(group)) => write!(f, "_gc/batches/{id}/decisions/{group:03x}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// An object in the directory of an upload that tells its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadMark {
    /// [`Key::UploadCancelled`], which is listed before all others.
    Cancelled,
    /// [`Key::UploadTail`]: the offset, and the random name. These are listed next.
    Tail(u64, Uuid),
}

impl UploadMark {
    /// Reads a path below the directory of an upload; `None` for anything else that is there.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == "cancelled" {
            return Some(Self::Cancelled);
        }
        let (left, own) = path.strip_prefix("chunk-")?.split_once('-')?;
        let left = u64::from_str_radix(left, 16).ok()?;
        Some(Self::Tail(u64::MAX - left, own.parse().ok()?))
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
            (Key::Blob(&digest), format!("{root}/blobs/sha256/e3/{hex}/data")),
            (Key::Layer(&name, &digest), format!("{repository}/_layers/sha256/{hex}/link")),
            (Key::Revision(&name, &digest), format!("{repository}/_manifests/revisions/sha256/{hex}/link")),
            (Key::Tags(&name), format!("{repository}/_manifests/tags/")),
            (Key::Tag(&name, &tag), format!("{repository}/_manifests/tags/v1/current/link")),
            (Key::TagHistory(&name, &tag, &digest), format!("{repository}/_manifests/tags/v1/index/sha256/{hex}/link")),
        ];
        for (key, path) in expected {
            assert_eq!(key.to_string(), path);
        }
    }

    #[test]
    fn a_blobs_path_has_its_digest() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        let path = Key::Blob(&digest).to_string();
        assert_eq!(blob_digest(&path), Some(digest));
        assert_eq!(blob_digest(&format!("/pounce/root/{path}")), Some(digest));
        for other in [
            "",
            "docker/registry/v2/blobs/",
            "docker/registry/v2/blobs/sha256/e3/e3/data",
            &path.replace("/e3/", "/e4/"),
            &path.replace("/data", "/other"),
            &format!("{path}/data"),
        ] {
            assert_eq!(blob_digest(other), None, "{other}");
        }
    }

    #[test]
    fn what_matters_most_of_an_upload_is_listed_first() {
        let (name, id, own) = ("a/b".parse().unwrap(), Uuid::nil(), Uuid::max());
        let directory = Key::Upload(&name, &id).to_string();
        let path = |key: Key<'_>| key.to_string()[directory.len()..].to_owned();
        let tail = |offset| path(Key::UploadTail(&name, &id, offset, &own));
        let paths = [
            path(Key::UploadCancelled(&name, &id)),
            tail(u64::MAX),
            tail(1 << 40),
            tail(11),
            tail(10),
            tail(9),
            path(Key::UploadData(&name, &id, &id)),
            "hashstates/sha256/0".to_owned(),
            "startedat".to_owned(),
        ];
        assert!(paths.is_sorted());
        let marks = paths.iter().map(|path| UploadMark::parse(path));
        let tails = [u64::MAX, 1 << 40, 11, 10, 9].map(|offset| UploadMark::Tail(offset, own));
        let expected = [UploadMark::Cancelled].into_iter().chain(tails);
        assert!(marks.flatten().eq(expected));
        for path in ["", "chunk-", "chunk-x-y", "data", "chunk-0000000000000001"] {
            assert_eq!(UploadMark::parse(path), None, "{path}");
        }
    }
}
