//! Where redirects lead (RFC 9110, section 15.4): from a registry to its storage, or from a name to the registry behind
//! it.

use reqwest::Response;
use reqwest::header::LOCATION;
use reqwest::redirect::{Action, Attempt, Policy};
use url::Url;

use super::error::UpstreamError;

/// The most redirects of one request: a registry's to its storage, and a few on the way.
pub(super) const MAX_REDIRECTS: usize = 5;

const DOWNGRADE: &str = "it redirects from https to http";

/// Where a response sends its client; `None` if it is no redirect.
///
/// # Errors
/// `Invalid`: the target is no web address, or gives up TLS.
pub(super) fn target(response: &Response) -> Result<Option<Url>, UpstreamError> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let invalid = |why: &str| UpstreamError::Invalid(why.to_owned());
    let from = response.url();
    let location = std::str::from_utf8(location.as_bytes()).ok();
    let mut url = location
        .and_then(|text| from.join(text).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| invalid("it redirects to no web address"))?;
    if is_downgrade(from, &url) {
        return Err(invalid(DOWNGRADE));
    }
    // An upstream does not choose pounce's credentials elsewhere. A web URL is valid without them.
    let _ = (url.set_username(""), url.set_password(None));
    Ok(Some(url))
}

/// How token servers' redirects are followed. The client drops credentials on the way to another host; this policy
/// refuses to drop TLS.
pub(super) fn policy() -> Policy {
    Policy::custom(follow)
}

fn follow(attempt: Attempt<'_>) -> Action {
    let previous = attempt.previous().last();
    if previous.is_some_and(|from| is_downgrade(from, attempt.url())) {
        attempt.error(DOWNGRADE)
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("it redirects without end")
    } else {
        attempt.follow()
    }
}

fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

#[cfg(test)]
mod tests {
    use reqwest::ResponseBuilderExt;

    use super::*;

    fn redirected(from: &str, status: u16, location: &str) -> Result<Option<String>, ()> {
        let response = http::Response::builder()
            .url(Url::parse(from).unwrap())
            .status(status)
            .header(LOCATION, location)
            .body("")
            .unwrap();
        let to = target(&Response::from(response)).map_err(|_| ())?;
        Ok(to.map(|url| url.to_string()))
    }

    #[test]
    fn tls_is_not_given_up_and_credentials_are_dropped() {
        let from = "https://r.example.com/v2/a/blobs/x";
        let to = |location| redirected(from, 307, location);
        assert_eq!(to("/y?z#f"), Ok(Some("https://r.example.com/y?z#f".into())));
        assert_eq!(to("https://s/y"), Ok(Some("https://s/y".into())));
        assert_eq!(to("https://u:p@s/y"), Ok(Some("https://s/y".into())));
        for location in ["http://r.example.com/y", "file:///y", "data:,y", "https://"] {
            assert_eq!(to(location), Err(()), "{location}");
        }
        let plain = |location| redirected("http://r/x", 302, location);
        assert_eq!(plain("http://s/y"), Ok(Some("http://s/y".into())));
        assert_eq!(plain("//s/y"), Ok(Some("http://s/y".into())));
    }

    #[test]
    fn only_a_redirect_is_one() {
        for status in [200, 201, 300, 304, 404] {
            assert_eq!(redirected("http://r/x", status, "/y"), Ok(None), "{status}");
        }
    }
}
