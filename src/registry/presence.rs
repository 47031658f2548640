//! Whether the bucket has something, and the errors that say that it has not.

use crate::oci::{Digest, Error, ErrorCode, Reference, RepositoryName};
use crate::store::{Key, Store};

/// Whether the bucket has anything of a repository.
pub(super) async fn exists(store: &Store, name: &RepositoryName) -> Result<bool, Error> {
    let (found, _) = store.objects(Key::Repository(name), None, 1).await?;
    Ok(!found.is_empty())
}

/// Content that is to be deleted must be there: `unknown` if the repository does not have it, `NAME_UNKNOWN` if there
/// is no such repository.
pub(super) async fn require(store: &Store, name: &RepositoryName, key: Key<'_>, unknown: Error) -> Result<(), Error> {
    if store.leader().exists(key).await? {
        return Ok(());
    }
    Err(if exists(store, name).await? { unknown } else { name_unknown(name) })
}

pub(super) fn name_unknown(name: &RepositoryName) -> Error {
    Error::new(ErrorCode::NameUnknown, format!("there is no repository {name}"))
}

pub(super) fn blob_unknown(name: &RepositoryName, digest: &Digest) -> Error {
    Error::new(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}

/// The same where there is no upstream to ask.
pub(super) fn manifest_not_pushed(name: &RepositoryName, reference: &Reference) -> Error {
    let message = format!(
        "{name} has no manifest {reference}: it was not pushed here, and proxy.remoteurl and proxy.upstreams of this \
         registry name no upstream for it"
    );
    Error::new(ErrorCode::ManifestUnknown, message)
}

pub(super) fn manifest_unknown(name: &RepositoryName, reference: &Reference) -> Error {
    Error::new(ErrorCode::ManifestUnknown, format!("{name} has no manifest {reference}"))
}
