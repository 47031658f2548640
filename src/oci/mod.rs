//! The types of the OCI distribution spec, without I/O.
//!
//! Each type can only be built from text that the spec allows, so that no other module checks a name or a digest again.

mod action;
mod descriptor;
mod digest;
mod error;
mod manifest;
mod media_type;
mod name;
mod outcome;
mod platform;
mod range;
mod reference;
mod referrer;
mod relaxed_name;
mod tag;

pub use action::Action;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, DigestText, Hasher};
pub use error::{Error, ErrorCode};
pub use manifest::{Links, MAX_MANIFEST_BYTES, Manifest, ManifestError, named_digests};
pub use media_type::{MediaType, MediaTypeError};
pub use name::{NameError, RepositoryName};
pub use outcome::Outcome;
pub use platform::{Platform, PlatformError};
pub use range::{ByteRange, ChunkRange, RangeRequest, Slice};
pub use reference::Reference;
pub use referrer::{Referrer, Referrers};
pub use relaxed_name::{original_name, parse_relaxed_name, unmarked_name};
pub use tag::{Tag, TagError};
