//! The leader of an eventually consistent bucket (Tigris, "Consistency"). A request with its header sees, and makes
//! seen, every other such request at once; other regions follow in about a second.
//!
//! - Writes, deletes, lists and the control of multipart uploads always ask the leader: [`AskLeader`].
//! - Reads ask the nearest region, and the leader only for what that does not have.
//! - Reads of what this process wrote or deleted a moment ago ask the leader at once, because the nearest region may
//!   still have the old state: [`RecentWrites`].
//! - Reads of [`Store::leader`](super::Store::leader) always ask the leader.
//! - Parts are sent to the nearest region: no read sees them. Parts that are copied read their sources, at the leader.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// The header by which Tigris asks the bucket's leader instead of the nearest region.
const CONSISTENT: &str = "x-tigris-consistent";

/// The operations that always ask the leader.
const AT_LEADER: [&str; 11] = [
    "PutObject",
    "CopyObject",
    "UploadPartCopy",
    "DeleteObject",
    "DeleteObjects",
    "ListObjectsV2",
    "CreateMultipartUpload",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListMultipartUploads",
    "ListParts",
];

/// How long other regions may lag behind: a write takes at most half of it, and Tigris says a second.
const LAG: Duration = Duration::from_secs(30);

/// How many keys are remembered for that, at some 200 bytes each. A process that writes more than that in so short a
/// time reads some of it from the nearest region.
const MAX_KEYS: usize = 10_000;

/// Makes the operations in [`AT_LEADER`] ask the leader.
#[derive(Debug)]
pub(super) struct AskLeader;

#[dyn_dispatch_hint]
impl Intercept for AskLeader {
    fn name(&self) -> &'static str {
        "AskLeader"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map(Metadata::name);
        let asks_leader = operation.is_some_and(|operation| AT_LEADER.contains(&operation));
        set_consistent(asks_leader)(context.request_mut());
        Ok(())
    }
}

/// Makes a request ask the leader, if `asks_leader`.
pub(super) fn set_consistent(asks_leader: bool) -> impl Fn(&mut HttpRequest) {
    move |request| {
        if asks_leader {
            request.headers_mut().insert(CONSISTENT, "true");
        }
    }
}

/// The keys that this process wrote or deleted a moment ago, and when; empty for a bucket that is consistent.
pub(super) struct RecentWrites {
    is_needed: bool,
    keys: Mutex<HashMap<String, Instant>>,
}

impl RecentWrites {
    pub(super) fn new(eventually_consistent: bool) -> Self {
        Self { is_needed: eventually_consistent, keys: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process writes or deletes this key now.
    pub(super) fn insert(&self, path: &str) {
        if !self.is_needed {
            return;
        }
        let mut keys = self.lock();
        if keys.len() >= MAX_KEYS {
            keys.retain(|_, written| written.elapsed() < LAG);
        }
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(path.to_owned(), Instant::now());
    }

    /// Whether the nearest region may still have the key's old state.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.is_needed && self.lock().get(path).is_some_and(|written| written.elapsed() < LAG)
    }
}
