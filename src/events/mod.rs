//! Events: what clients push, pull, mount and delete, sent to the endpoints of `notifications`.
//!
//! An [`Occurrence`] is what a request did, and becomes one event or several. An event is written once, as distribution
//! writes it ([`format`](self::format)), and put into the [`queue`] of every endpoint that does not ignore it. A task
//! for each endpoint takes them out in order ([`delivery`]). A request waits for nothing of this.
//!
//! Queues are in memory, bounded in events and bytes: an event that finds its queue full is dropped, and counted. An
//! event whose answer is lost is sent again.

mod delivery;
mod format;
mod occurrence;
mod queue;
mod references;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::{Config, EventAction, EventEndpoint, EventSettings};
use crate::telemetry::Metrics;
use delivery::Delivery;
use format::Source;
use queue::Queue;

pub use occurrence::{Content, Occurrence, Requested};

/// How many requests may outlive their clients, which otherwise bound their number.
const MAX_REQUESTS: usize = 256;

/// The endpoints, and what all events have in common.
#[derive(Debug)]
pub struct Events {
    settings: EventSettings,
    source: Source,
    endpoints: Vec<(EventEndpoint, Arc<Queue>)>,
    tasks: TaskTracker,
    /// The requests that may be events, whose clients may have left.
    requests: TaskTracker,
    /// Cancelled when nothing is sent any more.
    stop: CancellationToken,
}

impl Events {
    /// Starts a task for each enabled endpoint; `None` without any.
    ///
    /// # Errors
    /// The name of an endpoint, and why there is no client for it: the certificates of this machine cannot be read.
    pub fn start(config: &Config, metrics: &Metrics) -> Result<Option<Self>, (String, String)> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut endpoints = Vec::new();
        for (_, endpoint) in config.notifications.enabled() {
            let queue = Arc::new(Queue::new(endpoint.name(), metrics.events(endpoint.name())));
            let delivery = Delivery::new(endpoint, config.notifications.events.format, &queue);
            let delivery = delivery.map_err(|why| (endpoint.name().to_owned(), why))?;
            endpoints.push((endpoint.clone(), queue, delivery));
        }
        if endpoints.is_empty() {
            return Ok(None);
        }
        let endpoints = endpoints.into_iter().map(|(endpoint, queue, delivery)| {
            tracing::info!(endpoint = endpoint.name(), "events are sent to this endpoint");
            tasks.spawn(stop.clone().run_until_cancelled_owned(delivery.run()));
            (endpoint, queue)
        });
        let source = Source::new(config.http.addr.to_bind().1, Uuid::new_v4());
        Ok(Some(Self {
            settings: config.notifications.events,
            source,
            endpoints: endpoints.collect(),
            tasks,
            requests: TaskTracker::new(),
            stop,
        }))
    }

    /// Runs a request to its end, also if its client leaves before: what it changes is an event all the same. Of many
    /// requests at once, further ones end with their clients.
    pub async fn outlive<T: Send + 'static>(&self, request: impl Future<Output = T> + Send + 'static) -> T {
        if self.requests.len() >= MAX_REQUESTS {
            return request.await;
        }
        match self.requests.spawn(request).await.map_err(JoinError::try_into_panic) {
            Ok(response) => response,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends, and so does this.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    /// Whether any endpoint gets events of an action; `of_blob` says that a blob is its target. So most requests need
    /// not find out what their events would say.
    #[must_use]
    pub fn wants(&self, action: EventAction, of_blob: bool) -> bool {
        let is_off = action == EventAction::Pull && of_blob && !self.settings.blobpulls;
        !is_off && self.endpoints.iter().any(|(endpoint, _)| !endpoint.ignores_action(action))
    }

    /// Puts the events of an occurrence into the queues of the endpoints that do not ignore them.
    pub fn publish(&self, occurrence: &Occurrence, requested: &Requested<'_>) {
        let (action, media_type) = (occurrence.action, occurrence.media_type());
        let takes =
            |endpoint: &EventEndpoint| !endpoint.ignores_action(action) && !endpoint.ignores_media_type(media_type);
        let queues: Vec<_> = self.endpoints.iter().filter(|(endpoint, _)| takes(endpoint)).collect();
        if queues.is_empty() {
            return;
        }
        for envelope in format::envelopes(self.settings, &self.source, occurrence, requested) {
            let envelope = Bytes::from(envelope);
            for (_, queue) in &queues {
                queue.push(envelope.clone());
            }
        }
    }

    /// Waits until the last requests have ended and the queues are empty, for at most `grace`, and logs what is lost. No
    /// further request may begin.
    pub async fn flush(&self, grace: Duration) {
        let flush = async {
            self.requests.close();
            self.requests.wait().await;
            for (_, queue) in &self.endpoints {
                queue.close();
            }
            self.tasks.close();
            self.tasks.wait().await;
        };
        if tokio::time::timeout(grace, flush).await.is_err() {
            self.stop.cancel();
            for (_, queue) in &self.endpoints {
                queue.log_lost();
            }
        }
    }
}

impl Drop for Events {
    /// A server that never ran leaves no task behind.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
