//! The registry on the wire.
//!
//! Repository names contain slashes, which a router of fixed path segments cannot match in the middle of a path. So
//! [`Endpoint`](endpoint::Endpoint) is parsed from method and URL once, and everything behind it works with valid names
//! and digests.
//!
//! The way of a request: `server` reads it, `route` tells the registry's paths from others. `fast_path` answers from
//! memory if it can. Otherwise `v2` authorizes the request, `admission` reserves memory for the response, `dispatch`
//! calls the resource (`blobs`, `manifests`, …), and `response` adds the common headers.

mod access_log;
mod admission;
mod answer;
mod authenticate;
mod authorize;
mod blobs;
mod budget;
mod byte_ranges;
mod catalog;
mod challenge;
mod client_address;
mod context;
mod debug;
mod dispatch;
mod embedded_s3;
mod endpoint;
mod error;
mod fast_path;
mod headers;
mod health;
mod live_feed;
mod live_figures;
mod liveness_probe;
mod manifests;
mod occurrence;
mod ollama;
mod ollama_login;
mod page;
mod preflight;
mod public_url;
mod query;
mod referrers;
mod rejection;
mod request_span;
mod response;
mod response_memory;
mod route;
mod scrape;
mod server;
mod signed_url;
mod state;
mod status;
mod tags;
mod token;
mod unknown_hosts;
mod uploads;
mod upstream_list;
mod upstream_names;
mod url_signer;
mod v2;

use access_log::LogEntry;
use answer::Answer;
use context::Context;
use endpoint::Endpoint;
use rejection::Rejection;

#[cfg(feature = "internals")]
pub(crate) use endpoint::{fuzz as fuzz_endpoint, is_endpoint};

pub(crate) use debug::serve_debug;
pub(crate) use endpoint::UPSTREAM_LIST;
pub(crate) use liveness_probe::probe_liveness;
pub(crate) use route::serve;
pub(crate) use server::{Listener, Tls, TlsError};
pub(crate) use state::{AppState, configured_headers};
pub(crate) use status::{Answering, Answers, Fill, Status};
pub(crate) use upstream_list::{ListedUpstream, UpstreamList};
