//! How clients reach pounce: proxies in front, absolute and relative URLs, and clients without access to the bucket.

use bytes::Bytes;
use reqwest::RequestBuilder;

use crate::support::image::digest;
use crate::support::{Pounce, Reply};

const TRUST: (&str, &str) = ("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8,::1/128");

fn forwarded(request: RequestBuilder, proto: &str, host: &str) -> RequestBuilder {
    request.header("x-forwarded-proto", proto).header("x-forwarded-host", host)
}

async fn begin(pounce: &Pounce, by: impl Fn(RequestBuilder) -> RequestBuilder) -> String {
    let reply = pounce.send(by(pounce.request("POST", "/v2/a/blobs/uploads/"))).await;
    assert_eq!(reply.status, 202);
    reply.header("location").to_owned()
}

#[tokio::test]
async fn locations_are_absolute_where_that_is_sure_to_be_right() {
    let proxied = |request| forwarded(request, "https", "registry.example.com");
    let plain = |request| request;
    // Without a setting, locations are relative, so the client's own view of the host decides.
    let pounce = Pounce::with(&[]).await;
    assert!(begin(&pounce, plain).await.starts_with("/v2/a/"));
    // Any client could send these headers.
    assert!(begin(&pounce, proxied).await.starts_with("/v2/a/"));

    let pounce = Pounce::with(&[TRUST]).await;
    let location = begin(&pounce, proxied).await;
    assert!(location.starts_with("https://registry.example.com/v2/a/"), "{location}");
    // The client sent all values before the last one.
    let several = |request| forwarded(request, "http, https", "evil.example, registry.example.com");
    let location = begin(&pounce, several).await;
    assert!(location.starts_with("https://registry.example.com/v2/a/"), "{location}");
    assert!(begin(&pounce, plain).await.starts_with("/v2/a/"));
    for host in ["a b", "user@evil", "evil/x", ""] {
        let location = begin(&pounce, |request| forwarded(request, "https", host)).await;
        assert!(!location.contains("evil"), "{location}");
    }

    let host = ("REGISTRY_HTTP_HOST", "https://other.example.com");
    let pounce = Pounce::with(&[TRUST, host]).await;
    let location = begin(&pounce, proxied).await;
    assert!(location.starts_with("https://other.example.com/v2/a/"), "{location}");
    let relative = ("REGISTRY_HTTP_RELATIVEURLS", "true");
    let pounce = Pounce::with(&[TRUST, host, relative]).await;
    assert!(begin(&pounce, proxied).await.starts_with("/v2/a/"));
    // As distribution does: from the Host header.
    let pounce = Pounce::with(&[("REGISTRY_HTTP_RELATIVEURLS", "false")]).await;
    let location = begin(&pounce, plain).await;
    assert!(location.starts_with(&pounce.url("/v2/a/")), "{location}");
}

#[tokio::test]
async fn an_upload_goes_on_at_its_absolute_location() {
    let pounce = Pounce::with(&[("REGISTRY_HTTP_RELATIVEURLS", "false"), ("REGISTRY_HTTP_PREFIX", "/here")]).await;
    let begun = pounce.send(pounce.request("POST", "/here/v2/a/blobs/uploads/")).await;
    let path = begun.header("location").strip_prefix(&pounce.url("")).unwrap().to_owned();
    let blob = Bytes::from_static(b"content");
    let reply = pounce.close(&path, &digest(&blob), blob.clone()).await;
    assert_eq!(reply.status, 201);
    let expected = pounce.url(&format!("/here/v2/a/blobs/{}", digest(&blob)));
    assert_eq!(reply.header("location"), expected);
}

#[tokio::test]
async fn a_folders_blobs_are_found_behind_a_proxy_that_changes_the_host() {
    let pounce = Pounce::with(&[TRUST]).await;
    let blob = Bytes::from_static(b"content");
    let digest = pounce.push("a", blob.clone()).await;
    let by_proxy = |path: &str| {
        let request = pounce.request("GET", path).header("host", "backend:5000");
        pounce.send(forwarded(request, "https", "registry.example.com"))
    };
    let reply = by_proxy(&format!("/v2/a/blobs/{digest}")).await;
    let location = reply.header("location");
    let path = location.strip_prefix("https://registry.example.com");
    let reply = by_proxy(path.unwrap()).await;
    assert_eq!((reply.status, reply.body), (200, blob));
}

/// As in `fly.toml`: a proxy that passes clients' `X-Forwarded-*` on, and adds headers of its own.
#[tokio::test]
async fn headers_that_a_proxy_passes_on_say_nothing_where_others_are_named() {
    let pounce = Pounce::with(&[
        TRUST,
        ("REGISTRY_HTTP_FORWARDEDFOR", "Fly-Client-IP"),
        ("REGISTRY_HTTP_FORWARDEDHOST", "Host"),
        ("REGISTRY_HTTP_FORWARDEDPROTO", "Fly-Forwarded-Proto"),
        ("REGISTRY_STORAGE_REDIRECT_EXCLUDE", "10.0.0.0/8"),
    ])
    .await;
    let blob = Bytes::from_static(b"content");
    let digest = pounce.push("a", blob.clone()).await;
    let ask = |method: &str, path: &str| {
        let request = pounce.request(method, path);
        let request = request.header("host", "app.fly.dev");
        forwarded(request, "http", "evil.example")
            .header("x-forwarded-for", "10.0.0.1")
            .header("fly-forwarded-proto", "https")
            .header("fly-client-ip", "192.0.2.1")
    };
    let begun = pounce.send(ask("POST", "/v2/a/blobs/uploads/")).await;
    let location = begun.header("location");
    assert!(location.starts_with("https://app.fly.dev/v2/"), "{location}");
    // The client's own X-Forwarded-For does not exclude it from redirects.
    let path = format!("/v2/a/blobs/{digest}");
    let reply = pounce.send(ask("GET", &path)).await;
    assert_eq!(reply.status, 307);
    let location = reply.header("location");
    let path = location.strip_prefix("https://app.fly.dev").unwrap();
    let reply = pounce.send(ask("GET", path)).await;
    assert_eq!((reply.status, reply.body), (200, blob));
}

async fn pull(pounce: &Pounce, blob: &str, forwarded_for: &[&str]) -> Reply {
    let request = pounce.request("GET", &format!("/v2/a/blobs/{blob}"));
    let request = forwarded_for.iter().fold(request, |request, value| request.header("x-forwarded-for", *value));
    pounce.send(request).await
}

#[tokio::test]
async fn blobs_are_streamed_to_those_who_cannot_reach_the_bucket() {
    let exclude = ("REGISTRY_STORAGE_REDIRECT_EXCLUDE", "10.0.0.0/8,fd00::/8");
    let blob = Bytes::from_static(b"content");
    let pounce = Pounce::with(&[TRUST, exclude]).await;
    let digest = pounce.push("a", blob.clone()).await;
    assert_eq!(pull(&pounce, &digest, &[]).await.status, 307);
    for inside in [
        &["10.1.2.3"][..],
        &["fd00::1"],
        &["[fd00::1]:1234"],
        &["10.1.2.3:1234"],
        &["::ffff:10.1.2.3"],
        // The client is the last address that is not a trusted proxy's.
        &["8.8.8.8, 10.1.2.3"],
        &["8.8.8.8", "10.1.2.3, 127.0.0.2"],
    ] {
        let reply = pull(&pounce, &digest, inside).await;
        assert_eq!((reply.status, &reply.body), (200, &blob), "{inside:?}");
        let request = pounce.request("GET", &format!("/v2/a/blobs/{digest}"));
        let request = request.header("x-forwarded-for", inside[0]).header("range", "bytes=1-2");
        if inside.len() == 1 {
            assert_eq!(pounce.send(request).await.status, 206, "{inside:?}");
        }
    }
    for outside in [&["8.8.8.8"][..], &["10.1.2.3, 8.8.8.8"], &["nobody"], &["10.1.2.3, nobody"]] {
        assert_eq!(pull(&pounce, &digest, outside).await.status, 307, "{outside:?}");
    }
    // As on Fly.io, where the last address in X-Forwarded-For is not the client's.
    let header = ("REGISTRY_HTTP_FORWARDEDFOR", "Fly-Client-IP");
    let pounce = Pounce::with(&[TRUST, exclude, header]).await;
    let digest = pounce.push("a", blob.clone()).await;
    let request = pounce.request("GET", &format!("/v2/a/blobs/{digest}"));
    let request = request.header("x-forwarded-for", "10.1.2.3, 8.8.8.8");
    let request = request.header("fly-client-ip", "10.1.2.3");
    assert_eq!(pounce.send(request).await.status, 200);
    assert_eq!(pull(&pounce, &digest, &["10.1.2.3"]).await.status, 307);
    // An untrusted client cannot choose its address.
    let pounce = Pounce::with(&[exclude]).await;
    let digest = pounce.push("a", blob.clone()).await;
    assert_eq!(pull(&pounce, &digest, &["10.1.2.3"]).await.status, 307);
    let pounce = Pounce::with(&[("REGISTRY_STORAGE_REDIRECT_EXCLUDE", "127.0.0.0/8")]).await;
    let digest = pounce.push("a", blob.clone()).await;
    let reply = pull(&pounce, &digest, &[]).await;
    assert_eq!((reply.status, &reply.body), (200, &blob));
}

#[tokio::test]
async fn configured_headers_are_on_every_response() {
    let pounce = Pounce::with(&[(
        "REGISTRY_HTTP_HEADERS",
        "{X-Content-Type-Options: [nosniff], Strict-Transport-Security: ['max-age=1']}",
    )])
    .await;
    for path in ["/v2/", "/v2/x", "/healthz", "/nowhere"] {
        let reply = pounce.get(path).await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("strict-transport-security"), "max-age=1", "{path}");
    }
}

/// As distribution does: the path of `http.host`, up to its last slash, stands before `/v2/`.
#[tokio::test]
async fn the_path_of_the_host_is_part_of_locations() {
    let prefix = ("REGISTRY_HTTP_PREFIX", "/pfx/");
    for (host, prefix, expected) in [
        ("https://r.example.com/pfx/", None, "https://r.example.com/pfx/v2/a/"),
        ("https://r.example.com/a/pfx/", Some(prefix), "https://r.example.com/a/pfx/v2/a/"),
        ("https://r.example.com/pfx", None, "https://r.example.com/v2/a/"),
    ] {
        let mut variables = vec![("REGISTRY_HTTP_HOST", host)];
        variables.extend(prefix);
        let pounce = Pounce::with(&variables).await;
        let path = match prefix {
            Some(_) => "/pfx/v2/a/blobs/uploads/",
            None => "/v2/a/blobs/uploads/",
        };
        let reply = pounce.send(pounce.request("POST", path)).await;
        assert_eq!(reply.status, 202);
        let location = reply.header("location");
        assert!(location.starts_with(expected), "{location}");
    }
}
