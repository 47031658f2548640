//! Starts a registry from a configuration, and stops it.

mod bucket_keys;
mod greeting;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucket_keys::{BucketKeys, KeysError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::auth::{Access, AuthError, Granted, KeyVerifier};
use crate::config::{self, Config, Driver, Environment, Limits, ListenAddr, Loaded, Secret};
use crate::events::Events;
use crate::fd_limit;
use crate::http::{self, AppState, Listener, Tls, TlsError};
use crate::registry::{Options, Registry};
use crate::store::{ConnectError, Location, Store};
use crate::telemetry::{AccessLog, Metrics};
use crate::upstream::{UpstreamError, Upstreams};

/// How many connections the operator's listener takes: collectors and probes need few.
const DEBUG_CONNECTIONS: usize = 64;

/// The least time that events have to leave at the end: the timeout of an endpoint, unless it is set.
const EVENTS_GRACE: Duration = Duration::from_secs(1);

/// Why pounce does not start, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {addr}: {source}; end the program that listens there, or set another address")]
    Listen {
        /// `http.addr` or `http.debug.addr`.
        setting: &'static str,
        /// Its value.
        addr: ListenAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bucket cannot be used.
    #[error(transparent)]
    Store(#[from] ConnectError),
    /// The HTTP clients of upstreams cannot be made.
    #[error(
        "the clients of upstreams cannot be made: {0}; SSL_CERT_FILE and SSL_CERT_DIR, if set, must have certificates"
    )]
    Upstream(#[from] UpstreamError),
    /// There is no client for an endpoint of events.
    #[error("notifications.endpoints: {0}: {1}; SSL_CERT_FILE and SSL_CERT_DIR, if set, must have certificates")]
    Events(String, String),
    /// Users, keys or rules cannot be read.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The bucket cannot vouch for clients.
    #[error(transparent)]
    BucketKeys(#[from] KeysError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of the access log cannot be opened.
    #[error("log.accesslog.file: {0}")]
    AccessLog(std::io::Error),
    /// An entry of `http.headers` is not a valid header.
    #[error("http.headers: {0} is not a header with a valid value")]
    Header(String),
}

/// A registry that listens, and serves once it [`run`](Self::run)s.
#[derive(Debug)]
pub struct Server {
    app: Arc<AppState>,
    listener: Listener,
    debug: Option<(Listener, config::Debug)>,
    grace: Duration,
    /// Signs tokens.
    secret: Secret,
    /// Asks the bucket about keys of clients; `None` over a folder.
    verifier: Option<Arc<dyn KeyVerifier>>,
}

impl Server {
    /// Listens, and connects to the bucket.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let headers = http::configured_headers(&config.http).map_err(StartError::Header)?;
        let tls = Tls::open(&config.http.tls)?;
        let access_log = AccessLog::open(&config.log).map_err(StartError::AccessLog)?;
        let options = Options::new(config, || random_secret(config));
        let names = config.http.debug.prometheus.names;
        let metrics = Arc::new(Metrics::new(names, config.storage.driver));
        let socket = listen("http.addr", &config.http.addr).await?;
        let store = Store::connect(&config.storage).await?;
        let location = store.location().clone();
        let secret = options.secret.clone();
        // Whether it is used may change while the process runs.
        let keys = BucketKeys::new(&store).map(Arc::new);
        if let Some(keys) = keys.as_ref().filter(|_| config.auth.bucketkeys) {
            keys.prepare().await?;
        }
        let verifier = keys.map(|keys| keys as Arc<dyn KeyVerifier>);
        let registry = open_registry(config, store, options, &metrics).await?;
        let hosts = registry.repositories.host_names();
        let access = Access::open(&config.auth, &secret, &hosts, verifier.clone(), &metrics, None)?;
        registry.uploads.sweep_periodically(config.storage.maintenance.uploadpurging.clone());
        registry.find_out_conditions();
        registry.note_pulls();
        registry.forget_after_sleep();
        if config.http.page.enabled {
            registry.count_days(&metrics);
        }
        registry.gc.collect_periodically(config.storage.maintenance.gc.clone());
        let debug = bind_debug(&config.http.debug).await?;
        let base = base_url(config, local_addr(&socket), tls.is_some())?;
        let listener = Listener {
            socket,
            tls,
            limits: client_limits(&config.http.limits),
            trusted_proxies: config.http.trustedproxies.clone(),
            metrics: Some(Arc::clone(&metrics)),
        };
        let events = Events::start(config, &metrics);
        let app = AppState::new(config, registry, access, metrics, base, headers, &secret);
        let events = events.map_err(|(endpoint, why)| StartError::Events(endpoint, why))?;
        let app = Arc::new(app.with_access_log(access_log).with_events(events));
        let grace = config.http.draintimeout;
        let server = Self { app, listener, debug, grace, secret, verifier };
        server.log_start(config, &location);
        Ok(server)
    }

    fn log_start(&self, config: &Config, location: &Location) {
        let registry = &self.app.registry;
        let granted = Granted::of(&self.app.access(), registry.possible_actions());
        greeting::log_storage(location);
        greeting::log_upstreams(registry);
        greeting::log_access(&granted);
        greeting::log_retention(config);
        tracing::info!(
            addr = %self.local_addr(), tls = self.listener.tls.is_some(),
            debug = self.debug_addr().map(|addr| addr.to_string()), "listening"
        );
        greeting::log_command(config, registry, &granted, self.local_addr());
    }

    /// Probes every upstream in the background, and warns of those that do not work. Its first request then needs no
    /// probe of its own.
    pub fn greet_upstreams(&self) {
        self.app.registry.repositories.ping_upstreams();
    }

    /// Takes changes of users, rules and upstreams in the file that the configuration was read from in force, until the
    /// server ends.
    pub fn follow(&self, loaded: Arc<Loaded>, environment: Environment) {
        let (app, secret, verifier) = (Arc::clone(&self.app), self.secret.clone(), self.verifier.clone());
        tokio::spawn(reload::follow(app, loaded, environment, secret, verifier));
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        local_addr(&self.listener.socket)
    }

    /// The address that its debug listener listens on.
    #[must_use]
    pub fn debug_addr(&self) -> Option<SocketAddr> {
        self.debug.as_ref().map(|(listener, _)| local_addr(&listener.socket))
    }

    /// Serves until `stop`; then requests and fills may go on for `http.draintimeout`.
    pub async fn run(self, stop: CancellationToken) {
        // The debug listener answers until everything else has ended, and then waits for no request.
        let ended = CancellationToken::new();
        if let Some((listener, config)) = self.debug {
            let (metrics, ended) = (Arc::clone(&self.app.metrics), ended.clone());
            let app = Arc::downgrade(&self.app);
            tokio::spawn(async move {
                http::serve_debug(listener, &config, metrics, app, ended).await;
            });
        }
        let deadline = async {
            stop.cancelled().await;
            self.app.registry.close();
            Instant::now() + self.grace
        };
        // Requests end before fills, because a request in flight may still begin a fill.
        let (deadline, ()) =
            tokio::join!(deadline, http::serve(self.listener, Arc::clone(&self.app), stop.clone(), self.grace));
        let left = deadline.saturating_duration_since(Instant::now());
        // Nothing happens any more that would be an event.
        let flush = async {
            if let Some(events) = &self.app.events {
                events.flush(left.max(EVENTS_GRACE)).await;
            }
        };
        tokio::join!(self.app.registry.drain(left), flush);
        ended.cancel();
    }
}

/// The registry that a configuration describes, over its bucket.
///
/// # Errors
/// The system's TLS certificates cannot be read.
pub(crate) async fn open_registry(
    config: &Config,
    store: Store,
    mut options: Options,
    metrics: &Arc<Metrics>,
) -> Result<Registry, StartError> {
    store.count_in(metrics);
    let upstreams = Upstreams::new(&config.proxy, metrics)?;
    options.proxied_until = store.last_proxied().await;
    Ok(Registry::new(store, upstreams, &options, metrics))
}

/// A secret that no other replica has. A folder has no other.
fn random_secret(config: &Config) -> Secret {
    if config.storage.driver == Driver::S3 {
        tracing::warn!(
            "http.secret is not set: uploads, tokens that pounce gives, and signed URLs of blobs must stay with this \
             process, and replicas cannot share them"
        );
    }
    Secret::from(format!("{}{}", Uuid::new_v4(), Uuid::new_v4()))
}

/// The wildcard address is `[::]`, which takes IPv4 too, or `0.0.0.0` on a machine without IPv6.
async fn listen(setting: &'static str, addr: &ListenAddr) -> Result<TcpListener, StartError> {
    let bound = match TcpListener::bind(addr.to_bind()).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported && addr.is_every_address() => {
            TcpListener::bind(("0.0.0.0", addr.to_bind().1)).await
        }
        other => other,
    };
    bound.map_err(|source| StartError::Listen { setting, addr: addr.clone(), source })
}

async fn bind_debug(debug: &config::Debug) -> Result<Option<(Listener, config::Debug)>, StartError> {
    let Some(addr) = &debug.addr else {
        return Ok(None);
    };
    let listener = Listener {
        socket: listen("http.debug.addr", addr).await?,
        tls: None,
        limits: Limits { connections: DEBUG_CONNECTIONS, ..Limits::default() },
        trusted_proxies: Vec::new(),
        metrics: None,
    };
    Ok(Some((listener, debug.clone())))
}

/// `http.limits`, with no more connections than there are file descriptors for.
fn client_limits(limits: &Limits) -> Limits {
    Limits { connections: fd_limit::raise(limits.connections), ..limits.clone() }
}

fn local_addr(socket: &TcpListener) -> SocketAddr {
    // A bound socket has an address.
    socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// The URL of this registry where a request does not tell: the origin of `http.host`, because the bucket's paths begin
/// at the root, or else the address that it listens on.
fn base_url(config: &Config, local: SocketAddr, tls: bool) -> Result<Url, StartError> {
    if let Some(host) = &config.http.host {
        return Ok(host.as_url().join("/").unwrap_or(host.as_url().clone()));
    }
    let scheme = if tls { "https" } else { "http" };
    Ok(Url::parse(&format!("{scheme}://{local}")).map_err(|error| UpstreamError::Invalid(error.to_string()))?)
}
