//! Other registries, as their client.
//!
//! [`Upstream`] requests manifests, blobs and tags, with the authorization that a registry demands: Basic credentials,
//! or tokens, as for Docker Hub. It keeps nothing but tokens, and for a while a host's challenges and the methods that
//! it answers. [`Upstreams`] are all that the configuration names, and maps repositories to them.
//!
//! [`client`] has [`Upstream`], a file for each kind of content. [`session`] sends, with retries and redirects;
//! [`authorize`] meets the challenge of each host; [`status`] has the meaning of a status other than success.

mod accounts;
mod api_check;
mod authorize;
mod challenge;
mod challenge_cache;
mod client;
mod credentials;
mod error;
mod head_support;
mod http_client;
mod images;
mod names;
mod pagination;
mod probe;
mod rate_left;
mod reach;
mod redirect;
mod redirected;
mod request;
mod request_span;
mod response;
mod routing;
mod session;
mod status;
mod token;
mod upstreams;

#[cfg(feature = "internals")]
pub(crate) use challenge::fuzz as fuzz_challenge;

pub use client::{Authentication, BlobResponse, Upstream};
pub use error::UpstreamError;
pub use probe::probe;
pub use reach::{Answered, Reach, ReachError};
pub use redirected::{RedirectedBody, RedirectedClient};
pub use routing::{RequestHosts, Routes, Unresolved};
pub use upstreams::Upstreams;
