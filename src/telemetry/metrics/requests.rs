//! Requests of clients: how long until they are answered, by endpoint and class of status, and how they were
//! authorized.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::histogram::{self, NUMBERS};
use super::labels::{CLASS, CLASSES, class};
use super::shards::Sharded;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// end-1
    Support,
    /// The token server.
    Token,
    /// end-2
    PullBlob,
    /// end-2, by a signed URL of pounce's.
    PullSignedBlob,
    /// end-3
    PullManifest,
    /// end-4a, end-4c
    BeginUpload,
    /// end-4b
    PushBlob,
    /// end-5
    PushChunk,
    /// end-6
    CloseUpload,
    /// end-7
    PushManifest,
    /// end-8
    ListTags,
    /// end-9
    DeleteManifest,
    /// end-10
    DeleteBlob,
    /// end-11
    Mount,
    /// end-12
    ListReferrers,
    /// end-13
    UploadStatus,
    /// end-14
    CancelUpload,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_pounce/upstreams`
    Upstreams,
    /// The embedded S3 server.
    EmbeddedS3,
    /// The page for browsers: `/`, and below `/-/`.
    Page,
    /// `/`, `/healthz` and `/readyz`
    Probe,
    /// None of these, or refused before it is known which.
    Other,
}

impl RequestKind {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 23] = [
        Self::Support,
        Self::Token,
        Self::PullBlob,
        Self::PullSignedBlob,
        Self::PullManifest,
        Self::BeginUpload,
        Self::PushBlob,
        Self::PushChunk,
        Self::CloseUpload,
        Self::PushManifest,
        Self::ListTags,
        Self::DeleteManifest,
        Self::DeleteBlob,
        Self::Mount,
        Self::ListReferrers,
        Self::UploadStatus,
        Self::CancelUpload,
        Self::Catalog,
        Self::Upstreams,
        Self::EmbeddedS3,
        Self::Page,
        Self::Probe,
        Self::Other,
    ];

    /// The label `endpoint`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Support => "support",
            Self::Token => "token",
            Self::PullBlob => "pull_blob",
            Self::PullSignedBlob => "pull_signed_blob",
            Self::PullManifest => "pull_manifest",
            Self::BeginUpload => "begin_upload",
            Self::PushBlob => "push_blob",
            Self::PushChunk => "push_chunk",
            Self::CloseUpload => "close_upload",
            Self::PushManifest => "push_manifest",
            Self::ListTags => "list_tags",
            Self::DeleteManifest => "delete_manifest",
            Self::DeleteBlob => "delete_blob",
            Self::Mount => "mount",
            Self::ListReferrers => "list_referrers",
            Self::UploadStatus => "upload_status",
            Self::CancelUpload => "cancel_upload",
            Self::Catalog => "catalog",
            Self::Upstreams => "upstreams",
            Self::EmbeddedS3 => "embedded_s3",
            Self::Page => "page",
            Self::Probe => "probe",
            Self::Other => "other",
        }
    }

    /// distribution's name of the route, where it has it.
    pub(super) const fn handler(self) -> Option<&'static str> {
        Some(match self {
            Self::Support => "base",
            Self::PullBlob | Self::PullSignedBlob | Self::DeleteBlob => "blob",
            Self::PullManifest | Self::PushManifest | Self::DeleteManifest => "manifest",
            Self::BeginUpload | Self::PushBlob | Self::Mount => "blob_upload",
            Self::PushChunk | Self::CloseUpload | Self::UploadStatus | Self::CancelUpload => "blob_upload_chunk",
            Self::ListTags => "tags",
            Self::Catalog => "catalog",
            Self::Token
            | Self::ListReferrers
            | Self::Upstreams
            | Self::EmbeddedS3
            | Self::Page
            | Self::Probe
            | Self::Other => {
                return None;
            }
        })
    }
}

const CELLS: usize = RequestKind::ALL.len() * CLASSES;

/// The durations of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestDurations(Arc<Sharded<{ CELLS * NUMBERS }>>);

impl RequestDurations {
    pub(super) fn observe(&self, kind: RequestKind, status: u16, took: Duration) {
        let begin = (kind as usize * CLASSES + class(status)) * NUMBERS;
        let numbers: &[AtomicU64] = self.0.own();
        if let Some(numbers) = numbers.get(begin..begin + NUMBERS) {
            histogram::observe(numbers, took);
        }
    }
}

impl EncodeMetric for RequestDurations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for kind in RequestKind::ALL {
            for (class, status) in CLASS.iter().enumerate() {
                let begin = (kind as usize * CLASSES + class) * NUMBERS;
                let numbers: [u64; NUMBERS] = std::array::from_fn(|index| self.0.sum(begin + index));
                // A series appears with its first request.
                if numbers.iter().any(|number| *number > 0) {
                    let labels = [("endpoint", kind.as_str()), ("status", *status)];
                    histogram::encode(encoder.encode_family(&labels)?, &numbers)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// How a request under `/v2/` was authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorized {
    /// Without credentials.
    Anonymously,
    /// With a user's, or by a token or a signature.
    WithLogin,
    /// Not: the client is asked for credentials, or for other ones.
    Challenged,
    /// Not: its client may not do this.
    Denied,
    /// Not: too many passwords were tried.
    Limited,
}

impl Authorized {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Anonymously, "anonymous"),
        (Self::WithLogin, "login"),
        (Self::Challenged, "challenged"),
        (Self::Denied, "denied"),
        (Self::Limited, "limited"),
    ];
}

/// How requests were authorized.
#[derive(Clone, Debug, Default)]
pub(super) struct Authorizations(Arc<Sharded<{ Authorized::ALL.len() }>>);

impl Authorizations {
    pub(super) fn count(&self, authorized: Authorized) {
        self.0.add(authorized as usize, 1);
    }
}

impl EncodeMetric for Authorizations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (authorized, result) in Authorized::ALL {
            let labels = [("result", result)];
            let count = self.0.sum(authorized as usize);
            let none: Option<&Exemplar<[(&str, &str); 0], f64>> = None;
            encoder.encode_family(&labels)?.encode_counter(&count, none)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_in_the_order_of_their_discriminants() {
        assert!(RequestKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
        assert!(Authorized::ALL.iter().enumerate().all(|(index, (it, _))| *it as usize == index));
    }
}
