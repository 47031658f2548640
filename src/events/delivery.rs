//! Sending envelopes to one endpoint, one after the other, each until the endpoint takes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use super::queue::Queue;
use crate::config::{EventEndpoint, EventFormat};
use crate::log_limit::LogLimit;
use crate::upstream::Reach;

/// How many redirects inside the endpoint's host are followed.
const MAX_REDIRECTS: usize = 5;
/// How often the log says that an endpoint fails.
const PAUSE: Duration = Duration::from_mins(1);

/// The sender of one endpoint.
#[derive(Debug)]
pub(super) struct Delivery {
    name: String,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    threshold: u32,
    backoff: Duration,
    client: Reach,
    queue: Arc<Queue>,
    limit: LogLimit<Said>,
}

/// What the log says of an endpoint.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Said {
    Failed,
    RedirectedAway,
}

impl Delivery {
    /// # Errors
    /// There is no client for it, and why.
    pub(super) fn new(endpoint: &EventEndpoint, format: EventFormat, queue: &Arc<Queue>) -> Result<Self, String> {
        let url = endpoint.url.as_ref().map(|url| url.as_url().clone());
        let url = url.ok_or_else(|| "it has no url".to_owned())?;
        // As in distribution, a `Content-Type` of the configuration is a second one.
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(format.media_type()))]);
        for (name, value) in endpoint.headers.map() {
            headers.append(name, value.clone());
        }
        Ok(Self {
            name: endpoint.name().to_owned(),
            client: Reach::new(&url, None, endpoint.timeout())?,
            url,
            headers,
            timeout: endpoint.timeout(),
            threshold: endpoint.threshold(),
            backoff: endpoint.backoff(),
            queue: Arc::clone(queue),
            limit: LogLimit::new(PAUSE, 2),
        })
    }

    /// Sends envelopes until the queue is closed and empty. After `threshold` failures in a row, it waits for `backoff`
    /// before each further attempt, until one succeeds.
    pub(super) async fn run(self) {
        let mut failures: u32 = 0;
        while let Some(envelope) = self.queue.first().await {
            let posted = tokio::time::timeout(self.timeout, self.post(envelope)).await;
            let Err(cause) = posted.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) else {
                self.queue.delivered();
                if failures >= self.threshold {
                    tracing::info!(endpoint = self.name, "events: the endpoint takes them again");
                }
                failures = 0;
                continue;
            };
            self.queue.failed();
            failures = failures.saturating_add(1);
            if self.limit.is_due(Said::Failed) {
                let waiting = self.queue.len();
                tracing::warn!(
                    endpoint = self.name,
                    cause,
                    waiting,
                    "events: the endpoint did not take one, which is sent again"
                );
            }
            if failures >= self.threshold {
                tokio::time::sleep(self.backoff).await;
            }
        }
    }

    /// Sends an envelope once. 2xx and 3xx count as delivered. A 307 or 308, which asks for the same request at another
    /// URL, is followed inside the endpoint's host only, because the headers may hold a token.
    ///
    /// # Errors
    /// The endpoint does not take it, and why.
    async fn post(&self, envelope: Bytes) -> Result<(), String> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answered = self.client.send(Method::POST, &url, &self.headers, envelope.clone()).await;
            let answered = answered.map_err(|error| error.to_string())?;
            match answered.status {
                307 | 308 => {
                    let Some(next) = inside(&url, answered.location.as_deref()) else {
                        self.log_redirect();
                        return Ok(());
                    };
                    url = next;
                }
                200..=399 => return Ok(()),
                status => return Err(format!("it answered {status}")),
            }
        }
        Err("it redirects again and again".to_owned())
    }

    fn log_redirect(&self) {
        if self.limit.is_due(Said::RedirectedAway) {
            tracing::warn!(
                endpoint = self.name,
                "events: the endpoint redirects to another host, which gets none: events count as delivered; set the \
                 URL of the endpoint to the one that takes them"
            );
        }
    }
}

/// Where a redirect leads, if that is the same server, or the same host by HTTPS.
fn inside(url: &Url, location: Option<&str>) -> Option<Url> {
    let next = url.join(location?).ok()?;
    let is_upgrade = (url.scheme(), next.scheme()) == ("http", "https");
    let is_same = next.scheme() == url.scheme() && next.port_or_known_default() == url.port_or_known_default();
    (next.host_str() == url.host_str() && (is_same || is_upgrade)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_at_the_host() {
        let url = Url::parse("http://a.example.com:8080/x").unwrap();
        let inside = |location| super::inside(&url, location).map(String::from);
        let cases = [
            (Some("/y"), Some("http://a.example.com:8080/y")),
            (Some("http://a.example.com:8080/y"), Some("http://a.example.com:8080/y")),
            (Some("https://a.example.com/x"), Some("https://a.example.com/x")),
            (Some("http://a.example.com/x"), None),
            (Some("http://b.example.com:8080/x"), None),
            (Some("//b.example.com/x"), None),
            (Some("ftp://a.example.com:8080/x"), None),
            (None, None),
        ];
        for (location, leads) in cases {
            assert_eq!(inside(location).as_deref(), leads, "{location:?}");
        }
        let tls = Url::parse("https://a.example.com/x").unwrap();
        assert_eq!(super::inside(&tls, Some("http://a.example.com/x")), None);
    }
}
