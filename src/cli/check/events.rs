//! Checks of the endpoints of events, all at once. No event is sent: a HEAD with the endpoint's headers shows whether the
//! server answers.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;

use super::report::Report;
use crate::config::{Config, EventEndpoint};
use crate::upstream::Reach;

/// How many are tried at once.
const CONCURRENCY: usize = 16;

pub(super) async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    let enabled = config.notifications.enabled();
    let results = stream::iter(enabled).map(|(index, endpoint)| async move { (index, endpoint, head(endpoint).await) });
    for (index, endpoint, result) in results.buffered(CONCURRENCY).collect::<Vec<_>>().await {
        let name = format!("events for {}", endpoint.name());
        match result {
            Ok(message) => report.passed(&name, &message),
            Err((key, why, next)) => {
                report.warned(&name, &format!("notifications.endpoints.{index}.{key}"), &why, next);
            }
        }
    }
    report
}

/// The result of a HEAD; a failure has the key of the setting, the cause, and the next step.
async fn head(endpoint: &EventEndpoint) -> Result<String, (&'static str, String, &'static str)> {
    const NETWORK: &str = "look at the endpoint, and at the network between: until it answers, events wait in memory";
    let url = endpoint.url.as_ref().map(|url| url.as_url().clone());
    let url = url.ok_or_else(|| ("url", "there is none".to_owned(), "set it"))?;
    let failed = |why: String| ("url", why, NETWORK);
    let client = Reach::new(&url, None, endpoint.timeout()).map_err(failed)?;
    let answered = client.send(Method::HEAD, &url, endpoint.headers.map(), Bytes::new()).await;
    let answered = answered.map_err(|error| failed(format!("a HEAD, which is no event, failed: {error}")))?;
    let status = answered.status;
    match status {
        401 | 403 => Err((
            "headers",
            format!("it answers a HEAD with {status}, and perhaps refuses events, too"),
            "compare the headers with what the endpoint asks for",
        )),
        300..=399 => Err((
            "url",
            format!("it redirects a HEAD ({status}), and events are not sent to another host"),
            "name the URL that takes events",
        )),
        500..=599 => Err(failed(format!("it answers a HEAD with {status}"))),
        _ => Ok(format!("reached by a HEAD, which it answered with {status}; no event was sent")),
    }
}
