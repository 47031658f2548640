//! Whether a registry answers at the upstream's address.

use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::challenge::Challenge;
use super::response::header;

/// How long `/v2/` may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a yes and a no are good. A yes only serves requests of the same moment, because what stands in front of a
/// registry may answer in its place at any time.
const YES_LIFE: Duration = Duration::from_secs(2);
const NO_LIFE: Duration = Duration::from_mins(1);
/// The header in which a registry names its API (distribution, "API Version Check").
const API_VERSION: &str = "docker-distribution-api-version";

/// Whether the upstream answered `/v2/` as a registry does, and when it was asked.
#[derive(Debug, Default)]
pub(super) struct ApiCheck(Mutex<Option<(Instant, bool)>>);

impl ApiCheck {
    /// Whether the upstream at `base` answers `/v2/` as a registry does, now or a moment ago. `asked` is called before
    /// a request.
    pub(super) async fn is_registry(&self, client: &Client, base: &Url, asked: impl FnOnce()) -> bool {
        let mut last = self.0.lock().await;
        if let Some((when, is)) = *last
            && when.elapsed() < if is { YES_LIFE } else { NO_LIFE }
        {
            return is;
        }
        asked();
        let url = format!("{}/v2/", base.as_str().trim_end_matches('/'));
        let response = client.get(url).timeout(TIMEOUT).send().await;
        let is = response.is_ok_and(|response| {
            let challenged =
                response.status() == StatusCode::UNAUTHORIZED && Challenge::of(response.headers()).is_some();
            (response.status().is_success() || challenged) && names_api(&response)
        });
        *last = Some((Instant::now(), is));
        is
    }
}

/// Whether a response names the API of a registry.
pub(super) fn names_api(response: &Response) -> bool {
    header(response, API_VERSION).is_some_and(|text| text.trim_start().starts_with("registry/"))
}
