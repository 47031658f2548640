//! [`Upstream`] and its operations, a file for each kind of content. `handle` declares [`Upstream`].

mod blobs;
mod handle;
mod manifests;
mod ping;
mod referrers;
mod tags;

pub use blobs::BlobResponse;
pub use handle::Upstream;
pub use ping::Authentication;
