//! The configured upstreams, which may be replaced while pounce serves.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;

use super::client::Upstream;
use super::error::UpstreamError;
use super::routing::Routes;
use crate::config::Proxy;
use crate::oci::{RepositoryName, Tag};
use crate::telemetry::Metrics;

/// The configured upstreams. A request that asks several times may see the ones before and the ones after a change.
#[derive(Debug)]
pub struct Upstreams {
    routes: ArcSwap<Routes>,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// The upstreams that the configuration names.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub fn new(proxy: &Proxy, metrics: &Arc<Metrics>) -> Result<Self, UpstreamError> {
        let routes = Routes::new(proxy, metrics, None)?;
        Ok(Self { routes: ArcSwap::from_pointee(routes), metrics: Arc::clone(metrics) })
    }

    /// The upstreams of another configuration, for [`replace`](Self::replace). Those whose settings did not change are
    /// the ones that there are, with their connections and tokens.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn prepare(&self, proxy: &Proxy) -> Result<Routes, UpstreamError> {
        Routes::new(proxy, &self.metrics, Some(&self.routes()))
    }

    /// Replaces the upstreams. Fills that are under way go on with those that there were.
    pub fn replace(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The upstreams as they are now.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// The upstream of a repository, if there is one.
    #[must_use]
    pub fn of(&self, name: &RepositoryName) -> Option<Arc<Upstream>> {
        self.routes.load().of(name).cloned()
    }

    /// Whether a repository has an upstream.
    #[must_use]
    pub fn has(&self, name: &RepositoryName) -> bool {
        self.routes.load().of(name).is_some()
    }

    /// Whether a tag stays what it is once it is stored (`immutable`), also one that is pushed.
    #[must_use]
    pub fn fix(&self, name: &RepositoryName, tag: &Tag) -> bool {
        self.routes.load().fix(name, tag)
    }

    /// Whether the host that a client called can stand for an upstream. It allocates nothing, because the fast path
    /// calls it.
    #[must_use]
    pub fn have_hostnames(&self) -> bool {
        self.routes.load().have_hostnames()
    }

    /// Pings all upstreams at once, and logs a warning for each that cannot be used. Nothing depends on it.
    pub async fn ping(&self) {
        let routes = self.routes();
        join_all(routes.all().map(|upstream| ping(upstream))).await;
    }
}

/// How long the ping of an upstream may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

async fn ping(upstream: &Upstream) {
    let late = || UpstreamError::Unavailable("it does not answer".into());
    let pinged = tokio::time::timeout(PING_TIMEOUT, upstream.ping()).await;
    if let Err(error) = pinged.unwrap_or_else(|_| Err(late())) {
        let (upstream, advice) = (upstream.label(), error.advice());
        tracing::warn!(upstream, %error, advice, "an upstream cannot be used");
    }
}
