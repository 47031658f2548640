//! Somebody else's registry, as its client.
//!
//! [`Upstream`] asks for manifests, blobs and tags and does what a registry demands first: Basic
//! credentials, or the token dance of Docker Hub and its kin. It keeps nothing but tokens.

mod challenge;
mod client;
mod error;
mod referrers;
mod session;
mod token;

pub use client::{ManifestHead, Upstream, UpstreamBlob, UpstreamManifest};
pub use error::UpstreamError;
