//! What the layers count, and when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::distribution::AnsweredRequest;
use super::fills::{FillMemory, SpoolUsage};
use super::labels::{Asked, Ended, Kind, S3Request, SWEPT, UpstreamCall, status};
use super::logins::CredentialsCheck;
use super::requests::Authorized;

/// Counts a background task until it is dropped.
#[derive(Debug)]
pub struct InBackground(Gauge);

impl Drop for InBackground {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a client's request that was answered.
    pub fn request(&self, request: AnsweredRequest<'_>) {
        self.requests.observe(request.kind, request.status, request.took);
        if let Some(distribution) = &self.distribution {
            distribution.request(request);
        }
    }

    /// The source of the number of requests in flight.
    pub fn count_active_requests_by(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.active.set(count);
    }

    /// Counts how a request was authorized.
    pub fn authorized(&self, authorized: Authorized) {
        self.authorizations.count(authorized);
    }

    /// Counts an attempt of a request to the bucket, which took so long until there was a response with this status, or
    /// none. `operation` is S3's name.
    pub fn s3_request(&self, operation: &str, code: Option<u16>, took: Duration) {
        let label = S3Request { operation: operation.to_owned(), status: status(code) };
        self.s3.get_or_create(&label).observe(took);
        if let Some(distribution) = &self.distribution {
            distribution.action(operation, took);
        }
    }

    /// Counts the time from a request for a cold blob to its first byte.
    pub fn first_byte(&self, took: Duration) {
        self.fills.first_byte.observe(took);
    }

    /// Counts bytes of a manifest that were sent to a client; `fetched`: they came from an upstream for it.
    pub fn manifest_bytes(&self, bytes: u64, fetched: bool) {
        self.manifest_bytes.inc_by(bytes);
        if fetched {
            self.fetched_manifest_bytes.inc_by(bytes);
        }
    }

    /// Counts bytes of a blob that came from a client.
    pub fn pushed_bytes(&self, bytes: u64) {
        self.pushed_bytes.inc_by(bytes);
    }

    /// Counts a sweep that ended: how many multipart uploads, uploads, leases and strays it deleted; `None`: it failed.
    pub fn swept(&self, swept: Option<[usize; SWEPT.len()]>) {
        let result = if swept.is_some() { "ok" } else { "failed" };
        self.sweeps.get_or_create(&Ended { result }).inc();
        for (kind, count) in SWEPT.into_iter().zip(swept.unwrap_or_default()) {
            self.swept.get_or_create(&Kind { kind }).inc_by(count as u64);
        }
        if swept.is_some() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_sweep.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self) {
        self.refused.inc();
    }

    /// Counts a connection that was closed to make room for others.
    pub fn connection_evicted(&self) {
        self.evicted.inc();
    }

    /// Counts a request to an upstream.
    pub fn upstream(&self, call: UpstreamCall) {
        self.upstream.get_or_create(&Asked { call }).inc();
    }

    /// Counts a fill that starts.
    pub fn fill_begins(&self) {
        self.fills.active.inc();
    }

    /// Counts a fill that ends: `stored`, `followed`, where another process stored the blob, `left`, where another
    /// process fills the blob and no client needs it here, or `failed`.
    pub fn fill_ends(&self, result: &'static str) {
        self.fills.active.dec();
        self.fills.ended.get_or_create(&Ended { result }).inc();
    }

    /// The memory of fills, which they count.
    #[must_use]
    pub fn fill_memory(&self) -> FillMemory {
        self.fills.memory.clone()
    }

    /// The temporary files of fills, which they count.
    #[must_use]
    pub fn spool(&self) -> SpoolUsage {
        self.fills.spool.clone()
    }

    /// Counts a chunk of so many bytes that a fill wrote to the bucket.
    pub fn fill_chunk(&self, bytes: u64) {
        self.fills.chunks.inc();
        self.fills.chunk_bytes.inc_by(bytes);
    }

    /// Counts a shared fill that this process took over from another.
    pub fn fill_taken_over(&self) {
        self.fills.takeovers.inc();
    }

    /// Counts a shared fill that another process took over from this one.
    pub fn fill_robbed(&self) {
        self.fills.robbed.inc();
    }

    /// Counts a comparison of a password.
    pub fn password(&self, right: bool) {
        self.logins.password(right);
    }

    /// Counts a verification of a token of an OIDC provider.
    pub fn oidc(&self, check: CredentialsCheck) {
        self.logins.oidc(check);
    }

    /// Counts a login with keys of the bucket.
    pub fn bucket_keys(&self, check: CredentialsCheck) {
        self.logins.bucket_keys(check);
    }

    /// Counts a request whose `?ns=` names a host without an upstream.
    pub fn unknown_host(&self) {
        self.unknown_hosts.inc();
    }

    /// Counts a new connection.
    pub fn connection_opens(&self) {
        self.connections.inc();
        self.opened.inc();
    }

    /// Counts the end of a connection.
    pub fn connection_ends(&self) {
        self.connections.dec();
    }

    /// Counts a background task until the returned value is dropped.
    #[must_use]
    pub fn in_background(&self) -> InBackground {
        self.background.inc();
        InBackground(self.background.clone())
    }

    /// Counts bytes of a blob that a client was redirected to the bucket for.
    pub fn redirected_bytes(&self, bytes: u64) {
        self.redirected_bytes.inc_by(bytes);
    }

    /// Counts bytes of a blob that pounce itself sent to a client.
    pub fn blob_bytes(&self, bytes: u64) {
        self.blob_bytes.inc_by(bytes);
    }

    /// Counts bytes of a blob that came from an upstream.
    pub fn filled_bytes(&self, bytes: u64) {
        self.fills.bytes.inc_by(bytes);
    }
}
