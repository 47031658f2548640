//! Somebody else's registry, as its client.
//!
//! [`Upstream`] asks for manifests, blobs and tags and does what a registry demands first: Basic credentials, or the
//! token dance of Docker Hub and its kin. It keeps nothing but tokens, and for a while what a host demands and which
//! methods it answers. [`Upstreams`] are all that the configuration names, and knows which repository belongs to which.
//!
//! `session` sends, again where that helps, and follows redirects host by host; `authorize` meets what each host
//! demands; `answer` says what a status other than success means.

mod answer;
mod authorize;
mod blob;
mod challenge;
mod choice;
mod client;
mod credentials;
mod error;
mod greet;
mod heads;
mod links;
mod redirect;
mod referrers;
mod session;
mod tags;
mod token;
mod visit;

#[cfg(feature = "internals")]
pub(crate) use challenge::fuzz as fuzz_challenge;

pub use blob::BlobResponse;
pub use choice::Upstreams;
pub use client::{ManifestHead, Upstream, UpstreamManifest};
pub use error::UpstreamError;
pub use greet::Greeting;
pub use visit::{Visited, visit};
