//! pounce from outside: HTTP, processes, files. One module a chapter of the spec, or of our own.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that panics has failed, and says where"
)]

mod support;

mod abandoned;
mod access;
mod allocations;
mod anonymous;
mod browsers;
mod bypass;
mod calls;
mod challenges;
mod check;
mod check_bucket;
mod config;
mod credentials;
mod discovery;
mod distribution;
mod draining;
mod errors;
mod fake_s3;
mod faults;
mod fill;
mod heads;
mod helpers;
mod hostile;
mod indexes;
mod layers;
mod limits;
mod lists;
mod locations;
mod management;
mod manifests;
mod missing;
mod mistakes;
mod models;
mod mounts;
mod prefetch;
mod prefixes;
mod process;
mod proxies;
mod pull;
mod push;
mod ranges;
mod reached;
mod redirected;
mod redirects;
mod referrers;
mod refusing;
mod renewals;
mod replicas;
mod resume;
mod rule_mistakes;
mod rules;
mod scalars;
mod schema1;
mod settings;
mod stale;
mod storage;
mod stores;
mod tls;
mod token_servers;
mod tokens;
mod torture;
mod unconditional;
mod unspooled;
mod uploads;
mod upstream;
mod upstreams;
mod warm;
mod young;
