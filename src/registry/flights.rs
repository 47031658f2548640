//! The keys under which lookups are coalesced and changes are made one at a time.
//!
//! Two keys are only ever taken in one order: a manifest's digest before its tag, and either before a list.

use uuid::Uuid;

use super::runtime::SingleFlight;
use crate::oci::{Digest, Error, Reference, RepositoryName};

/// One for all components of a registry.
pub(super) type Flights = SingleFlight<FlightKey, Error>;

/// What requests may look up or change at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlightKey {
    Manifest(RepositoryName, Reference),
    /// Whether the upstream has the blob in this repository.
    UpstreamBlob(RepositoryName, Digest),
    /// Where the upstream sends its clients for the blob.
    Location(RepositoryName, Digest),
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    /// Whether the bucket has the blob, and a link to it in this repository.
    Blob(RepositoryName, Digest),
    Upload(Uuid),
    /// Whether the repository holds pushed content.
    Holding(RepositoryName),
    Catalog,
    Names,
}
