//! `proxy`: the registries that pounce fronts, and how it copies from them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hosts::UpstreamHost;
use super::remote::RemoteUrl;
use super::values::{self, Secret};
use super::{durations, lists};

/// `proxy`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// The upstream registry of every repository that is not one of `upstreams`; without it, those are what the bucket
    /// has.
    pub remoteurl: Option<RemoteUrl>,
    /// The names by which clients know it, where those are not `remoteurl`'s; without any, `remoteurl`'s.
    #[serde(deserialize_with = "lists::list")]
    pub host: Vec<UpstreamHost>,
    /// Who pounce is to the upstream; without it, anonymous.
    pub username: Option<String>,
    /// Its password or access token.
    pub password: Option<Secret>,
    /// A program that tells name and password.
    pub exec: Exec,
    /// Further upstreams, each by its host.
    pub upstreams: Vec<Remote>,
    /// How long a tag is served before the upstream is asked whether it still means the same.
    #[serde(with = "durations::duration")]
    pub tagttl: Duration,
    /// A manifest that is pulled begins the fills of its blobs.
    pub prefetch: bool,
    /// What a client of a blob gets that is not in the bucket yet.
    pub onmiss: OnMiss,
    /// How blobs are copied.
    pub fill: Fill,
    /// Where blobs lie while they are copied.
    pub spool: Spool,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            remoteurl: None,
            host: Vec::new(),
            username: None,
            password: None,
            exec: Exec::default(),
            upstreams: Vec::new(),
            tagttl: Duration::from_mins(1),
            prefetch: true,
            onmiss: OnMiss::default(),
            fill: Fill::default(),
            spool: Spool::default(),
        }
    }
}

/// An element of `proxy.upstreams`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// The name by which clients know it, which is also the first component of its repositories' names.
    pub host: Option<UpstreamHost>,
    /// Where it is; without it, `https://` and the host.
    pub remoteurl: Option<RemoteUrl>,
    /// Who pounce is to it; without it, anonymous.
    pub username: Option<String>,
    /// Its password or access token.
    pub password: Option<Secret>,
    /// A program that tells name and password.
    pub exec: Exec,
}

/// `proxy.exec`: a credential helper, as Docker's clients use them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    /// The program. It is run with the argument `get` and the upstream's host on its standard input.
    pub command: Option<PathBuf>,
    /// How long its answer is used: without it until it is refused, with 0 for one request.
    #[serde(with = "durations::optional_duration")]
    pub lifetime: Option<Duration>,
}

/// `proxy.onmiss`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMiss {
    /// Its bytes, as they come.
    #[default]
    Stream,
    /// The URL that the upstream itself redirects to, if it does.
    Redirect,
}

/// `proxy.fill`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fill {
    /// How many connections to the upstream one large blob has, 1 to 16.
    #[serde(deserialize_with = "values::connections")]
    pub connections: usize,
    /// How many fills run before one that no client has asked for waits, 1 to 64.
    #[serde(deserialize_with = "values::concurrency")]
    pub concurrency: usize,
    /// How long an upstream may send nothing before a connection is made anew.
    #[serde(with = "durations::stall_timeout")]
    pub stalltimeout: Duration,
}

impl Default for Fill {
    fn default() -> Self {
        Self { connections: 4, concurrency: 6, stalltimeout: Duration::from_secs(20) }
    }
}

/// `proxy.spool`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// A folder for scratch files; without one, the system's.
    pub directory: Option<PathBuf>,
    /// How many bytes may lie there at once; without it, half of what is free at start.
    pub maxsize: Option<u64>,
}

impl Proxy {
    /// What it says of the default upstream, in the form of the further ones.
    #[must_use]
    pub fn own(&self) -> Remote {
        Remote {
            host: self.host.first().cloned(),
            remoteurl: self.remoteurl.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            exec: self.exec.clone(),
        }
    }
}
