//! `proxy`: the upstream registries, and how blobs are copied from them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::host_names::HostNames;
use super::hosts::{ServerName, UpstreamHost};
use super::images::ImagePattern;
use super::ollama::UpstreamClient;
use super::remote::RemoteUrl;
use super::values::{self, Secret};
use super::{durations, lists, scalars};

/// `proxy`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// The default upstream: the registry of all repositories that no other upstream has. Without it, these come from
    /// the bucket only.
    pub remoteurl: Option<RemoteUrl>,
    /// The hosts by which clients name it; by default that of `remoteurl`.
    #[serde(deserialize_with = "lists::list")]
    pub host: Vec<UpstreamHost>,
    /// The user name at the upstream; without it, pounce is anonymous.
    pub username: Option<String>,
    /// The password or access token.
    pub password: Option<Secret>,
    /// Several accounts there, of which the one with the most of its rate left is used, in the place of `username` and
    /// `password`.
    pub credentials: Vec<Account>,
    /// A credential helper that returns user name and password.
    pub exec: Exec,
    /// The images that may come in, by patterns of names at the upstream and of tags; without it, all that `deny` does
    /// not have.
    #[serde(deserialize_with = "lists::optional")]
    pub allow: Option<Vec<ImagePattern>>,
    /// Images that may not come in, whatever `allow` says.
    #[serde(deserialize_with = "lists::list")]
    pub deny: Vec<ImagePattern>,
    /// Tags that stay what they are once they are stored: the upstream is not asked again, and no push moves them.
    #[serde(deserialize_with = "lists::list")]
    pub immutable: Vec<ImagePattern>,
    /// Further upstreams, each by its host.
    pub upstreams: Vec<Remote>,
    /// How long a tag is served before pounce asks the upstream whether it has changed.
    #[serde(with = "durations")]
    pub tagttl: Duration,
    /// Tags and manifests that came from an upstream go when they were not pulled for so long; 0 keeps them. It counts
    /// with `storage.maintenance.gc.enabled`, for repositories that no rule of `storage.retention` fits.
    #[serde(with = "durations::optional")]
    pub ttl: Option<Duration>,
    /// Whether a pull of a manifest starts the fills of its blobs.
    pub prefetch: bool,
    /// How a request for a blob is answered that is not in the bucket yet.
    pub onmiss: OnMiss,
    /// How blobs are copied into the bucket.
    pub fill: Fill,
    /// Temporary files for blobs while they are copied, in the place of memory.
    pub spool: Spool,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            remoteurl: None,
            host: Vec::new(),
            username: None,
            password: None,
            credentials: Vec::new(),
            exec: Exec::default(),
            allow: None,
            deny: Vec::new(),
            immutable: Vec::new(),
            upstreams: Vec::new(),
            tagttl: Duration::from_mins(1),
            ttl: None,
            prefetch: true,
            onmiss: OnMiss::default(),
            fill: Fill::default(),
            spool: Spool::default(),
        }
    }
}

/// An element of `proxy.upstreams`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// The host by which clients name it: the first component of its repositories' names.
    pub host: Option<UpstreamHost>,
    /// The names of pounce itself for which it is the upstream of repositories that are named without a host.
    #[serde(deserialize_with = "lists::list")]
    pub hostnames: Vec<ServerName>,
    /// Which names its repositories may have.
    #[serde(deserialize_with = "values::any_case")]
    pub names: NameGrammar,
    /// Its URL; by default `https://` and the host.
    pub remoteurl: Option<RemoteUrl>,
    /// The user name there; without it, pounce is anonymous.
    pub username: Option<String>,
    /// The password or access token.
    pub password: Option<Secret>,
    /// Several accounts there, of which the one with the most of its rate left is used, in the place of `username` and
    /// `password`.
    pub credentials: Vec<Account>,
    /// A credential helper that returns user name and password.
    pub exec: Exec,
    /// The images that may come in, by patterns of names at the upstream and of tags; without it, all that `deny` does
    /// not have.
    #[serde(deserialize_with = "lists::optional")]
    pub allow: Option<Vec<ImagePattern>>,
    /// Images that may not come in, whatever `allow` says.
    #[serde(deserialize_with = "lists::list")]
    pub deny: Vec<ImagePattern>,
    /// Tags that stay what they are once they are stored: the upstream is not asked again, and no push moves them.
    #[serde(deserialize_with = "lists::list")]
    pub immutable: Vec<ImagePattern>,
    /// The kind of client that has it to itself: all clients get answers as this kind needs them.
    pub client: Option<UpstreamClient>,
}

/// An element of `proxy.credentials`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// The password or access token.
    pub password: Secret,
}

/// `proxy.upstreams[].names`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NameGrammar {
    /// The spec's.
    #[default]
    Strict,
    /// Also with upper-case letters and any separators, as Hugging Face's. They are escaped in the bucket.
    Relaxed,
}

/// `proxy.exec`: a credential helper, as Docker's clients use them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    /// The program. pounce runs it with the argument `get` and the upstream's host on its standard input.
    pub command: Option<PathBuf>,
    /// How long its answer is used: by default until the upstream refuses it, with 0 for one request.
    #[serde(with = "durations::optional")]
    pub lifetime: Option<Duration>,
}

/// `proxy.onmiss`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMiss {
    /// Streams the bytes as they come from the upstream.
    #[default]
    Stream,
    /// Redirects to the URL that the upstream itself redirects to, if it does.
    Redirect,
}

/// `proxy.fill`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fill {
    /// The most connections to the upstream that a fill of a large blob has, 1 to 32. It has as many as make it faster.
    pub connections: usize,
    /// The most connections that all fills of the process have together, 1 to 256. A fill always has one.
    pub maxconnections: usize,
    /// The number of fills, 1 to 64, at which prefetched blobs wait.
    pub concurrency: usize,
    /// The size in bytes from which replicas share the fill of a blob through the bucket.
    pub sharedsize: SharedSize,
    /// The most memory in bytes that the blobs of all fills of the process take, 32 MiB to 1 TiB; by default 3/8 of the
    /// machine's, from 64 MiB to 1 GiB.
    pub memory: Option<u64>,
    /// How the chunks of a blob become the blob.
    #[serde(deserialize_with = "values::any_case")]
    pub compose: Compose,
    /// How long an upstream may send nothing before pounce reconnects: 100ms, which a slow one needs between two
    /// packets, to 30s, after which containerd gives up.
    #[serde(with = "durations")]
    pub stalltimeout: Duration,
    /// What is no setting, because all replicas need the same: tests change it.
    #[serde(skip)]
    pub tuning: FillTuning,
}

impl Default for Fill {
    fn default() -> Self {
        Self {
            connections: 8,
            maxconnections: 32,
            concurrency: 6,
            sharedsize: SharedSize::default(),
            memory: None,
            compose: Compose::default(),
            stalltimeout: Duration::from_secs(20),
            tuning: FillTuning::default(),
        }
    }
}

/// `proxy.fill.sharedsize`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedSize(Option<u64>);

impl SharedSize {
    /// The least size in bytes of a blob whose fill is shared; `None` if none is.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        self.0
    }
}

impl Default for SharedSize {
    fn default() -> Self {
        Self(Some(64 << 20))
    }
}

impl FromStr for SharedSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("never") {
            return Ok(Self(None));
        }
        let bytes = scalars::integer(text).and_then(|number| number.as_u64());
        bytes.map(|bytes| Self(Some(bytes))).ok_or("write a number of bytes, or never")
    }
}

values::deserialize_from_str!(SharedSize);

impl Serialize for SharedSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(bytes) => serializer.collect_str(&bytes),
            None => serializer.serialize_str("never"),
        }
    }
}

/// `proxy.fill.compose`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compose {
    /// The bucket copies them (`UploadPartCopy`).
    #[default]
    Copy,
    /// pounce reads them and sends them again, for buckets that copy more slowly or not at all.
    Send,
}

/// How replicas share fills.
#[derive(Clone, Copy, Debug)]
pub struct FillTuning {
    /// How long a filler writes no lease while nothing changes.
    pub heartbeat: Duration,
    /// How long a lease may stay unchanged before its filler counts as dead.
    pub death: Duration,
    /// How long an upstream may send next to nothing before its filler lets a follower take over.
    pub stall: Duration,
    /// How long chunks stay in the bucket after the blob is there, for clients that still read them.
    pub grace: Duration,
    /// The size of a chunk in bytes, a power of two; by default it follows from the size of the blob.
    pub chunk: Option<u64>,
}

impl Default for FillTuning {
    fn default() -> Self {
        let [heartbeat, death, stall, grace] = [3, 12, 20, 60].map(Duration::from_secs);
        Self { heartbeat, death, stall, grace, chunk: None }
    }
}

/// `proxy.spool`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The folder of the files. By default there are none over an S3; over a folder, they are inside it.
    pub directory: Option<PathBuf>,
    /// It has no effect, and is accepted because older versions had it.
    pub maxsize: Option<u64>,
}

impl Proxy {
    /// The settings of the default upstream, in the form of the further ones.
    #[must_use]
    pub fn own(&self) -> Remote {
        Remote {
            host: self.host.first().cloned(),
            hostnames: Vec::new(),
            names: NameGrammar::Strict,
            remoteurl: self.remoteurl.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            credentials: self.credentials.clone(),
            exec: self.exec.clone(),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            immutable: self.immutable.clone(),
            client: None,
        }
    }

    /// The hosts of the default upstream, if there is one: those of `host`, or its own. If its own is an address or has
    /// no dot, it also stands for Docker Hub, as names without a host do in image references. The hosts of further
    /// upstreams are excluded.
    #[must_use]
    pub fn default_hosts(&self) -> Vec<UpstreamHost> {
        let Some(remote) = &self.remoteurl else {
            return Vec::new();
        };
        let mut hosts = self.host.clone();
        if hosts.is_empty() {
            let (base, port) = (remote.base(), remote.base().port());
            let own = base.host_str().unwrap_or_default();
            let is_public = own.contains('.') && own.parse::<IpAddr>().is_err();
            let own = port.map_or_else(|| own.to_owned(), |port| format!("{own}:{port}"));
            let hub = UpstreamHost::DOCKER_HUB.iter().filter(|_| !is_public);
            let names = std::iter::once(own.as_str()).chain(hub.copied());
            hosts = names.filter_map(|name| name.parse().ok()).collect();
            hosts.dedup();
        }
        hosts.retain(|host| self.upstreams.iter().all(|it| it.host.as_ref() != Some(host)));
        hosts
    }

    /// The hosts of all upstreams.
    #[must_use]
    pub fn host_names(&self) -> HostNames {
        let is_hub = |url: &RemoteUrl| {
            url.prefix().is_none() && url.base().host_str().is_some_and(|it| UpstreamHost::DOCKER_HUB.contains(&it))
        };
        let mut names = HostNames::default();
        self.default_hosts().iter().for_each(|host| names.add_default(host));
        if self.remoteurl.as_ref().is_some_and(is_hub) {
            names.add_docker_hub(None);
        }
        for remote in &self.upstreams {
            let Some(host) = &remote.host else {
                continue;
            };
            names.add_further(host);
            if remote.remoteurl.as_ref().map_or(UpstreamHost::DOCKER_HUB.contains(&host.as_str()), is_hub) {
                names.add_docker_hub(Some(host));
            }
        }
        names
    }
}
