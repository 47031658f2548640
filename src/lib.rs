//! pounce: an OCI registry that keeps nothing on its own disk.
//!
//! It fronts other registries, copies what is pulled into an S3 bucket once, and from then on answers blob GETs with a
//! redirect to the bucket. What is pushed to it is stored there, too.
//!
//! # The house
//!
//! ```text
//! main → cli → http → { registry, auth } → { store, upstream } → oci
//!              telemetry and config stand beside them
//! ```
//!
//! An arrow means "may use", and nothing points back up; `tests/layers.rs` checks it.
//!
//! - [`oci`]: the spec's words as types. No I/O.
//! - [`store`]: the bucket. The only one that knows S3.
//! - [`upstream`]: somebody else's registry. The only one that is an HTTP client.
//! - [`registry`]: pulling through, storing once, redirecting, taking pushes. Speaks OCI, not HTTP.
//! - [`auth`]: who is asking, and may they. The only one that knows passwords and tokens of clients.
//! - [`http`]: the wire. The only one that knows status codes.
//! - [`cli`]: one file a command. Those that do not serve use the layers themselves.
//! - `live` and `descriptors`: files that change, and how many of them there may be.
//! - `shares`: what is bounded, and shared by many.
//! - [`config`] and [`telemetry`]: what the operator says and sees; used by constructors.
//!
//! The four words that are not the spec's: an **upstream** is a registry in front of which pounce stands, the **store**
//! is the bucket, a **key** is a path in it, and a **fill** copies one blob from upstream to store.

#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where"))]

pub mod auth;
pub mod cli;
pub mod config;
mod descriptors;
pub mod http;
#[cfg(feature = "internals")]
pub mod internals;
mod live;
pub mod oci;
pub mod registry;
mod shares;
pub mod store;
pub mod telemetry;
pub mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use auth::{Access, AuthError};
use config::{Config, Limits, ListenAddr, Secret};
use http::{Listening, Site, Tls, TlsError};
use registry::{Options, Registry};
use store::{ConnectError, Store};
use telemetry::Metrics;
use upstream::{UpstreamError, Upstreams};

/// Why pounce does not start, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {addr}: {source}")]
    Listen {
        /// `http.addr` or `http.debug.addr`.
        setting: &'static str,
        /// Its value.
        addr: ListenAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bucket cannot be used.
    #[error(transparent)]
    Store(#[from] ConnectError),
    /// There can be no connection to the upstream.
    #[error(
        "the clients of upstreams cannot be made: {0}; SSL_CERT_FILE and SSL_CERT_DIR, if set, must have certificates"
    )]
    Upstream(#[from] UpstreamError),
    /// Nobody can be let in.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header is not one.
    #[error("http.headers: {0} is not a header with a valid value")]
    Header(String),
}

/// A registry that listens, and serves once it [`run`](Self::run)s.
#[derive(Debug)]
pub struct Server {
    site: Arc<Site>,
    listening: Listening,
    debug: Option<(Listening, config::Debug)>,
    grace: Duration,
}

impl Server {
    /// Listens, and connects to the bucket.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let http = &config.http;
        let headers = extra_headers(config)?;
        let tls = Tls::open(&http.tls)?;
        let options = Options::new(config, random_secret);
        let metrics = Arc::new(Metrics::default());
        let listener = listen("http.addr", &http.addr).await?;
        let store = Store::connect(&config.storage).await?;
        let store_label = format!("{store:?}");
        let secret = options.secret.clone();
        let registry = open(config, store, options, &metrics).await?;
        let access = Access::open(&config.auth, &secret, registry.repositories.host_names(), &metrics)?;
        let upstreams = registry.repositories.upstreams().join(" ");
        let hosts = registry.repositories.hosts().join(" ");
        registry.uploads.sweep_periodically(config.storage.maintenance.uploadpurging.clone());
        registry.find_out_conditions();
        let debug = match &http.debug.addr {
            Some(addr) => {
                let listening = Listening {
                    listener: listen("http.debug.addr", addr).await?,
                    tls: None,
                    limits: Limits {
                        // Of an operator's collectors.
                        connections: 64,
                        ..Limits::default()
                    },
                    proxies: Vec::new(),
                    metrics: None,
                };
                Some((listening, http.debug.clone()))
            }
            None => None,
        };
        let local = local_addr(&listener);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = match &http.host {
            // Only its origin counts: the bucket's paths begin at the root.
            Some(host) => host.as_url().join("/").unwrap_or(host.as_url().clone()),
            None => {
                Url::parse(&format!("{scheme}://{local}")).map_err(|error| UpstreamError::Invalid(error.to_string()))?
            }
        };
        // Up to the last slash, as for distribution.
        let base_path = http.host.as_ref().and_then(|host| host.as_url().join("./").ok());
        let base_path = base_path.map_or_else(String::new, |url| url.path().trim_end_matches('/').to_owned());
        let operator = debug.as_ref().map(|(listening, _)| local_addr(&listening.listener).to_string());
        let limits = Limits { connections: descriptors::connections(http.limits.connections), ..http.limits.clone() };
        tracing::info!(
            addr = %local, tls = tls.is_some(), auth = ?config.auth.scheme, debug = operator, upstreams,
            hosts, store = store_label, "listening"
        );
        if access.is_open() {
            say_what_is_open(&config.auth);
        }
        let site = Site {
            registry,
            access,
            metrics: Arc::clone(&metrics),
            prefix: http.prefix.trim_end_matches('/').to_owned(),
            base,
            base_path,
            fixed_base: http.host.is_some(),
            relative_urls: http.relativeurls,
            trusted_proxies: http.trustedproxies.clone(),
            forwarded_for: http.forwardedfor.clone(),
            forwarded_host: http.forwardedhost.clone(),
            forwarded_proto: http.forwardedproto.clone(),
            unredirected: config.storage.redirect.exclude.clone(),
            headers,
            bypass: http::Bypass::default(),
            catalog_page: config.catalog.maxentries,
            tags_page: config.tags.maxtags,
            access_log: !config.log.accesslog.disabled,
            answers: http::Answers::default(),
        };
        Ok(Self {
            site: Arc::new(site),
            listening: Listening {
                listener,
                tls,
                limits,
                proxies: http.trustedproxies.clone(),
                metrics: Some(metrics),
            },
            debug,
            grace: http.draintimeout,
        })
    }

    /// Greets every upstream in the background, and warns of what is wrong with it. The first request to it then knows
    /// what it demands.
    pub fn greet_upstreams(&self) {
        self.site.registry.repositories.ping_upstreams();
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        local_addr(&self.listening.listener)
    }

    /// Where its debug listener listens.
    #[must_use]
    pub fn debug_addr(&self) -> Option<SocketAddr> {
        self.debug.as_ref().map(|(listening, _)| local_addr(&listening.listener))
    }

    /// Serves until `stop`; then requests and fills may go on for `http.draintimeout`.
    pub async fn run(self, stop: CancellationToken) {
        // The operator's listener stays to the very end, and waits for nobody then.
        let ended = CancellationToken::new();
        if let Some((listening, config)) = self.debug {
            let (metrics, ended) = (Arc::clone(&self.site.metrics), ended.clone());
            let site = Arc::downgrade(&self.site);
            tokio::spawn(async move {
                http::serve_debug(listening, &config, metrics, site, ended).await;
            });
        }
        let deadline = async {
            stop.cancelled().await;
            self.site.registry.close();
            Instant::now() + self.grace
        };
        // One after the other: a request that is under way may still begin a fill.
        let (deadline, ()) =
            tokio::join!(deadline, http::serve(self.listening, Arc::clone(&self.site), stop.clone(), self.grace));
        let left = deadline.saturating_duration_since(Instant::now());
        self.site.registry.drain(left).await;
        ended.cancel();
    }
}

/// What clients may do that do not log in, where none can.
fn say_what_is_open(auth: &config::Auth) {
    let actions = auth.without_login();
    let listed = oci::Action::list(actions);
    if actions == [oci::Action::Pull] {
        tracing::info!(
            "there is no auth: every client can {listed}, and nothing more; `pounce htpasswd USER` makes users for \
             auth.htpasswd"
        );
    } else {
        tracing::warn!("there is no auth: every client that reaches this registry can {listed}");
    }
}

/// The registry that a configuration describes, over its bucket.
///
/// # Errors
/// The system's TLS certificates cannot be read.
pub(crate) async fn open(
    config: &Config,
    store: Store,
    mut options: Options,
    metrics: &Arc<Metrics>,
) -> Result<Registry, StartError> {
    let upstreams = Upstreams::new(&config.proxy, metrics)?;
    options.proxied_until = store.last_proxied().await;
    Ok(Registry::new(store, upstreams, &options, metrics))
}

/// A secret that no other replica has.
fn random_secret() -> Secret {
    tracing::warn!(
        "http.secret is not set: uploads, and tokens that pounce gives, must stay with this process, and replicas \
         cannot share them"
    );
    Secret::from(format!("{}{}", Uuid::new_v4(), Uuid::new_v4()))
}

/// Every address is `[::]`, which takes IPv4 too, or `0.0.0.0` on a machine without IPv6.
async fn listen(setting: &'static str, addr: &ListenAddr) -> Result<TcpListener, StartError> {
    let bound = match TcpListener::bind(addr.to_bind()).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported && addr.is_every_address() => {
            TcpListener::bind(("0.0.0.0", addr.to_bind().1)).await
        }
        other => other,
    };
    bound.map_err(|source| StartError::Listen { setting, addr: addr.clone(), source })
}

fn local_addr(listener: &TcpListener) -> SocketAddr {
    // A bound socket has an address.
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn extra_headers(config: &Config) -> Result<HeaderMap, StartError> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.http.headers {
        let wrong = || StartError::Header(name.clone());
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        for value in values {
            headers.append(&parsed, HeaderValue::from_str(value).map_err(|_| wrong())?);
        }
    }
    Ok(headers)
}
