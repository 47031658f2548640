//! Mistakes that show when an image is pulled from an upstream.

use super::document::quotes;
use crate::support::tls::Authority;
use crate::support::upstream::Manners;
use crate::support::{Auth, Image, Pounce, Process, Upstream, borrowed};

const PATH: &str = "/v2/library/alpine/manifests/latest";

/// A start with this upstream and these variables, whose log is text.
fn before(remoteurl: &str, more: &[(&str, &str)]) -> Process {
    let mut variables = vec![("REGISTRY_LOG_FORMATTER", "text"), ("REGISTRY_PROXY_REMOTEURL", remoteurl)];
    variables.extend(more);
    Process::start(&variables)
}

async fn pull(process: &Process) -> String {
    reqwest::get(process.url(PATH)).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_network() {
    // No name below .invalid exists (RFC 6761).
    let mut process = before("https://registry.invalid", &[]);
    let line = process.until("an upstream cannot be used");
    let body = pull(&process).await;
    quotes("The upstream cannot be reached", &format!("{line}\n{body}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_https_of_an_upstream() {
    let upstream = Upstream::start().await;
    let mut process = before(&format!("https://{}", upstream.addr), &[]);
    let https = process.until("an upstream cannot be used");
    let authority = Authority::new();
    authority.sign("upstream");
    let secure = Pounce::with(&borrowed(&authority.variables("upstream"))).await;
    let mut process = before(&format!("http://{}", secure.addr), &[]);
    let http = process.until("an upstream cannot be used");
    quotes("The upstream's URL has the wrong scheme", &format!("{https}\n{http}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_registry() {
    let server = crate::support::Scripted::start(|_| async {
        crate::support::scripted::text(404, "text/html", "<h1>not found</h1>")
    });
    let server = server.await;
    let mut process = before(&server.url(), &[]);
    quotes("There is no registry at the upstream's URL", &process.until("an upstream cannot be used"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_of_an_upstream() {
    let upstream = Upstream::start().await;
    upstream.behave(Manners { auth: Auth::Bearer, ..Manners::default() });
    let wrong = [("REGISTRY_PROXY_USERNAME", "user"), ("REGISTRY_PROXY_PASSWORD", "wrong")];
    let mut process = before(&upstream.url(), &wrong);
    let line = process.until("an upstream cannot be used");
    let body = pull(&process).await;
    quotes("The upstream refuses pounce's credentials", &format!("{line}\n{body}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit() {
    let upstream = Upstream::start().await;
    upstream.add("library/alpine", "latest", &Image::new(1, &[100]));
    let process = before(&upstream.url(), &[]);
    upstream.behave(Manners { status: Some(429), ..Manners::default() });
    quotes("The upstream limits requests", &pull(&process).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_upstream() {
    let process = Process::start(&[]);
    quotes("There is no upstream", &pull(&process).await);
}
