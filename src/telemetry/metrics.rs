//! Counters, in Prometheus' terms.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::oci::Outcome;

/// What the upstream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum UpstreamCall {
    HeadManifest,
    GetManifest,
    HeadBlob,
    GetBlob,
    ListTags,
    ListReferrers,
    Support,
    Token,
}

impl UpstreamCall {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HeadManifest => "head_manifest",
            Self::GetManifest => "get_manifest",
            Self::HeadBlob => "head_blob",
            Self::GetBlob => "get_blob",
            Self::ListTags => "list_tags",
            Self::ListReferrers => "list_referrers",
            Self::Support => "support",
            Self::Token => "token",
        }
    }
}

macro_rules! label_value {
    ($kind:ty) => {
        impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_value!(Outcome);
label_value!(UpstreamCall);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    kind: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    call: UpstreamCall,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

/// A counter for each outcome, made once: to look one up takes a lock.
#[derive(Debug)]
struct Outcomes([Counter; Outcome::ALL.len()]);

impl Outcomes {
    fn new(answers: &Family<Answer, Counter>, kind: &'static str) -> Self {
        Self(Outcome::ALL.map(|outcome| answers.get_or_create_owned(&Answer { kind, outcome })))
    }

    fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }
}

/// All metrics of one pounce, cheap to share.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    manifests: Outcomes,
    blobs: Outcomes,
    upstream: Family<Asked, Counter>,
    fills: Family<Ended, Counter>,
    filling: Gauge,
    blob_bytes: Counter,
    filled_bytes: Counter,
    passwords: Family<Ended, Counter>,
    unknown_hosts: Counter,
    connections: Gauge,
    tasks: Gauge,
    background: Gauge,
}

/// Counts a task that may outlive its request, until it is dropped.
#[derive(Debug)]
pub struct InBackground(Gauge);

impl Drop for InBackground {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pounce");
        let metrics = (
            Family::default(),
            Family::default(),
            Family::default(),
            Gauge::default(),
            Counter::default(),
            Counter::default(),
        );
        let (answers, upstream, fills, filling, blob_bytes, filled_bytes) = metrics;
        let (passwords, connections) = (Family::default(), Gauge::default());
        let unknown_hosts = Counter::default();
        let (tasks, background) = (Gauge::default(), Gauge::default());
        registry.register(
            "password_checks",
            "Comparisons of a password with a user's hash; what is remembered needs none",
            passwords.clone(),
        );
        registry.register(
            "unknown_host_requests",
            "Requests whose ?ns= names a host without an upstream: these clients pull past this registry",
            unknown_hosts.clone(),
        );
        registry.register("connections", "Open connections of clients", connections.clone());
        registry.register(
            "tasks",
            "What the process is at: a few, and one or two for each connection and fill",
            tasks.clone(),
        );
        registry.register(
            "background_tasks",
            "Work that outlives its request: what is being copied, written or asked for",
            background.clone(),
        );
        registry.register("answers", "Manifests and blobs, by how they were answered", answers.clone());
        registry.register("upstream_requests", "Requests to the upstream", upstream.clone());
        registry.register("fills", "Blobs copied from the upstream to the bucket", fills.clone());
        registry.register("fills_active", "Blobs being copied", filling.clone());
        registry.register("blob_bytes", "Bytes of blobs sent through pounce to clients", blob_bytes.clone());
        registry.register("filled_bytes", "Bytes of blobs read from the upstream", filled_bytes.clone());
        Self {
            registry,
            manifests: Outcomes::new(&answers, "manifest"),
            blobs: Outcomes::new(&answers, "blob"),
            upstream,
            fills,
            filling,
            blob_bytes,
            filled_bytes,
            passwords,
            unknown_hosts,
            connections,
            tasks,
            background,
        }
    }
}

impl Metrics {
    /// A manifest was answered.
    pub fn manifest(&self, outcome: Outcome) {
        self.manifests.count(outcome);
    }

    /// A blob was answered.
    pub fn blob(&self, outcome: Outcome) {
        self.blobs.count(outcome);
    }

    /// The upstream is being asked.
    pub fn upstream(&self, call: UpstreamCall) {
        self.upstream.get_or_create(&Asked { call }).inc();
    }

    /// A fill begins.
    pub fn fill_begins(&self) {
        self.filling.inc();
    }

    /// A fill ended.
    pub fn fill_ends(&self, stored: bool) {
        self.filling.dec();
        self.fills.get_or_create(&Ended { result: if stored { "stored" } else { "failed" } }).inc();
    }

    /// A password was compared.
    pub fn password(&self, right: bool) {
        let result = if right { "right" } else { "wrong" };
        self.passwords.get_or_create(&Ended { result }).inc();
    }

    /// A client named a host (`?ns=`) that has no upstream.
    pub fn unknown_host(&self) {
        self.unknown_hosts.inc();
    }

    /// A connection was made.
    pub fn connection_opens(&self) {
        self.connections.inc();
    }

    /// A connection ended.
    pub fn connection_ends(&self) {
        self.connections.dec();
    }

    /// A task begins that may outlive its request; it ends when what this returns is dropped.
    #[must_use]
    pub fn in_background(&self) -> InBackground {
        self.background.inc();
        InBackground(self.background.clone())
    }

    /// So many bytes of a blob went through pounce to a client.
    pub fn blob_bytes(&self, bytes: u64) {
        self.blob_bytes.inc_by(bytes);
    }

    /// So many bytes of a blob came from the upstream.
    pub fn filled_bytes(&self, bytes: u64) {
        self.filled_bytes.inc_by(bytes);
    }

    /// All of them, in the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let alive = runtime.metrics().num_alive_tasks();
            self.tasks.set(i64::try_from(alive).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
