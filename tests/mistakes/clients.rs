//! Mistakes between clients and pounce.

use super::document::quotes;
use crate::check::run;
use crate::support::{Pounce, Process, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_an_unknown_host() {
    let upstream = Upstream::start().await;
    let mut process =
        Process::start(&[("REGISTRY_LOG_FORMATTER", "text"), ("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let url = process.url("/v2/org/app/manifests/1?ns=ghcr.io");
    let body = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = process.until("pull past it");
    quotes("A mirror is passed by", &format!("{line}\n{body}"));
}

/// What `pounce clients` says of docker and this registry.
async fn of_docker(url: &str, upstream: &str) -> String {
    let (_, printed, notes) = run(&["clients", url, "docker", "--upstream", upstream], &[], "").await;
    format!("{printed}\n{notes}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_ghcr_in_dockers_registry_mirrors() {
    let hub =
        [("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io"), ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io")];
    let pounce = Pounce::with(&hub).await;
    quotes("Docker pulls nothing of ghcr.io through its mirror", &of_docker(&pounce.url(""), "ghcr.io").await);
}

#[tokio::test]
async fn plain_http_that_docker_refuses() {
    // An address of no machine (RFC 5737), which docker would want TLS of.
    let said = of_docker("http://192.0.2.1:5000", "docker.io").await;
    quotes("Docker refuses plain HTTP", &said);
}

#[tokio::test]
async fn v2_in_the_url() {
    let said = of_docker("https://registry.example.com/v2/", "docker.io").await;
    quotes("The URL has /v2/ in it", &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_different_secrets() {
    let one = Pounce::with(&[("REGISTRY_HTTP_SECRET", "one")]).await;
    let other = Pounce::with(&[("REGISTRY_HTTP_SECRET", "other")]).await;
    let location = one.begin("team/app").await;
    let path = location.strip_prefix(&one.url("")).unwrap_or(&location);
    let reply = other.patch(path, "a chunk".into()).await;
    assert_eq!(reply.status, 404, "{reply:?}");
    quotes("A push fails at another replica", std::str::from_utf8(&reply.body).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_say_https() {
    let trusted = [("REGISTRY_LOG_FORMATTER", "text"), ("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8")];
    let mut process = Process::start(&trusted);
    // The proxy's probes say nothing of it.
    reqwest::get(process.url("/v2/")).await.unwrap();
    reqwest::get(process.url("/v2/team/app/tags/list")).await.unwrap();
    let line = process.until("http.forwardedproto");
    quotes("A proxy in front does not say that clients use https", &line);
}
