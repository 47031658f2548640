//! Mistakes between clients and pounce.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::document::quotes;
use crate::check::run;
use crate::support::tls::Authority;
use crate::support::{Pounce, Process, Upstream, borrowed};

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

/// What a server answers to these bytes, as far as it does.
async fn answer(addr: &str, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_one_of_http_and_https() {
    let text = ("REGISTRY_LOG_FORMATTER", "text");
    let mut plain = Process::start(&[text]);
    // The beginning of a TLS handshake.
    answer(&plain.addr, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await;
    let tls_to_plain = plain.until("speaks TLS");
    let authority = Authority::new();
    authority.sign("server");
    let secure = authority.variables("server");
    let mut secure = Process::start(&[&borrowed(&secure)[..], &[text]].concat());
    let told = answer(&secure.addr, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let plain_to_tls = secure.until("speaks plain HTTP");
    let https = format!("https://{}", plain.addr);
    let (_, _, wrong) = run(&["clients", &https, "podman"], &[], "").await;
    let (_, _, status) = run(&["status", &format!("https://{}", plain.debug)], &[], "").await;
    let said = [tls_to_plain, told, plain_to_tls, wrong, status].join("\n");
    quotes("A client speaks TLS to a plain port, or plain HTTP to TLS", &said);
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
