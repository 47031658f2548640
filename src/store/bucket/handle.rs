//! The handle of a bucket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::honour::Conditions;
use crate::store::embedded::Embedded;
use crate::store::key::Key;
use crate::store::lack::Lack;
use crate::store::leader::RecentWrites;
use crate::store::location::Location;
use crate::store::options::{CopyOptions, PresignOptions, PutOptions};
use crate::store::response_monitor::ResponseMonitor;
use crate::store::url_template::UrlTemplates;
use crate::telemetry::{Health, Metrics};

/// A bucket, cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
    /// See [`leader`](Self::leader); `None`: this is that view.
    leader: Option<Arc<Self>>,
}

pub(super) struct Inner {
    /// For small requests: short timeouts, several attempts.
    pub(super) client: aws_sdk_s3::Client,
    /// For bodies of any length: no timeout on the whole.
    pub(super) bulk: aws_sdk_s3::Client,
    pub(super) bucket: String,
    pub(super) location: Location,
    /// In front of every key; empty, or ending in a slash.
    pub(super) root: String,
    pub(super) put: PutOptions,
    pub(super) copy: CopyOptions,
    pub(super) presign: PresignOptions,
    pub(super) url_templates: UrlTemplates,
    pub(super) part_size: u64,
    pub(super) redirect_min_age: Duration,
    pub(super) monitor: ResponseMonitor,
    /// Regions follow the bucket's leader with a delay (Tigris).
    pub(super) eventually_consistent: bool,
    pub(super) recent_writes: RecentWrites,
    /// See [`Store::keeps_conditions`].
    pub(super) conditions: OnceCell<Conditions>,
    /// The bucket refused `UploadPartCopy` as unknown.
    pub(super) lacks_part_copies: Lack,
    /// The bucket refused `DeleteObjects` as unknown.
    pub(super) lacks_batch_deletes: Lack,
    /// The bucket can rename an object (Tigris, and the embedded server).
    pub(super) renames: bool,
    pub(super) embedded: Option<Embedded>,
}

impl Store {
    pub(super) fn new(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let leader = Self { inner: Arc::clone(&inner), leader: None };
        Self { inner, leader: Some(Arc::new(leader)) }
    }

    /// Counts requests to the bucket there from now on.
    pub fn count_in(&self, metrics: &Arc<Metrics>) {
        self.inner.monitor.count_in(metrics);
    }

    /// The same bucket, whose reads see what any region did until now: they ask the leader of an eventually consistent
    /// bucket, instead of the nearest region.
    #[must_use]
    pub fn leader(&self) -> &Self {
        self.leader.as_deref().unwrap_or(self)
    }

    /// Reads ask the bucket's leader.
    pub(super) fn reads_leader(&self) -> bool {
        self.inner.eventually_consistent && self.leader.is_none()
    }

    /// The S3 server inside this process, where the bucket is a folder: its requests come in through pounce's own
    /// listener.
    #[must_use]
    pub fn embedded(&self) -> Option<&Embedded> {
        self.inner.embedded.as_ref()
    }

    /// Where the bucket is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// How the bucket answers.
    #[must_use]
    pub fn health(&self) -> &Health {
        self.inner.monitor.health()
    }

    /// The configured size of an upload's parts, in bytes.
    #[must_use]
    pub fn part_size(&self) -> u64 {
        self.inner.part_size
    }

    /// How old a blob in the bucket must be before clients are redirected to it (`storage.redirect.minage`): the region
    /// nearest to them may not have it yet. Zero: any age will do.
    #[must_use]
    pub fn redirect_min_age(&self) -> Duration {
        self.inner.redirect_min_age
    }

    /// Whether the bucket renames objects, instead of copying them.
    #[must_use]
    pub fn renames(&self) -> bool {
        self.inner.renames
    }

    /// Whether presigned URLs differ by the host that the client called.
    #[must_use]
    pub fn presigns_for_callers_host(&self) -> bool {
        self.inner.presign.callers_host
    }

    pub(super) fn path(&self, key: &Key<'_>) -> String {
        format!("{}{key}", self.inner.root)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("bucket", &self.inner.bucket).finish_non_exhaustive()
    }
}
