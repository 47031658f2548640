//! The repository that a blob in the bucket was filled for.
//!
//! A fill writes the layer link of its repository, and then the blob with this mark in its metadata. So one HEAD of the
//! blob tells another replica that it is there, and that this repository has its link.

use std::collections::HashMap;

use crate::oci::{Algorithm, Digest, RepositoryName};

/// The mark's name in the metadata.
const FILLED_FOR: &str = "pounce-filled-for";

/// The mark of a repository in the metadata of one blob. Clients see that metadata when they follow a redirect, so it
/// is a digest of the name and of the blob's own digest: it tells nothing to a client that does not know the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilledFor(u128);

impl FilledFor {
    /// The mark of a blob that is filled for a repository.
    #[must_use]
    pub fn new(name: &RepositoryName, digest: &Digest) -> Self {
        let text = format!("{name} {digest}");
        let hashed = Digest::of(Algorithm::Sha256, text.as_bytes());
        let half = hashed.value().first_chunk().copied();
        Self(u128::from_be_bytes(half.unwrap_or_default()))
    }

    pub(super) fn read(metadata: &HashMap<String, String>) -> Option<Self> {
        let text = metadata.get(FILLED_FOR)?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    pub(super) fn metadata(self) -> HashMap<String, String> {
        HashMap::from([(FILLED_FOR.to_owned(), format!("{:032x}", self.0))])
    }
}
