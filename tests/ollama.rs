//! `ollama pull`, with a client written from its sources.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use serde_json::json;
use sha2::Sha256;

use crate::check::check;
use crate::support::image::{digest, noise};
use crate::support::ollama::Ollama;
use crate::support::scripted::text;
use crate::support::signer::now;
use crate::support::upstream::Manners;
use crate::support::users::{by, push, user};
use crate::support::{Image, Pounce, Process, Scripted, Upstream, borrowed};

const MIB: usize = 1 << 20;
/// Sixteen parts of a MiB.
const SIZE: usize = 16 * MIB;
const PART: u64 = MIB as u64;
const MODEL: &str = "library/tiny";

/// An upstream with a model of one layer, and its digest.
async fn model(manners: Manners) -> (Upstream, Bytes, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(8, &[SIZE]);
    upstream.add(MODEL, "latest", &image);
    upstream.behave(Manners { ranges: true, ..manners });
    (upstream, image.layer().clone(), digest(image.layer()))
}

fn of(pounce: &Pounce) -> Ollama {
    Ollama::of(&pounce.url("/"), PART)
}

#[tokio::test]
async fn a_model_is_pulled_cold_and_warm_over_the_folder() {
    let (upstream, layer, digest) = model(Manners::default()).await;
    let pounce = Pounce::before(&upstream).await;
    let mut ollama = of(&pounce);
    let manifest = ollama.manifest(MODEL, "latest").await.unwrap();
    assert_eq!(manifest["layers"][0]["digest"], digest);
    assert!(ollama.pull(MODEL, &digest).await.unwrap() == layer);
    pounce.until_stored(&digest).await;
    upstream.forget();
    assert!(ollama.pull(MODEL, &digest).await.unwrap() == layer);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn sixteen_cold_ranges_cost_one_copy_from_the_upstream() {
    let (upstream, layer, digest) = model(Manners::default()).await;
    let pounce = Pounce::before(&upstream).await;
    assert!(of(&pounce).pull(MODEL, &digest).await.unwrap() == layer);
    pounce.until_stored(&digest).await;
    assert!(upstream.blob_bytes() * 10 <= SIZE * 11, "{} bytes of {SIZE}", upstream.blob_bytes());
}

#[tokio::test]
async fn a_warm_blob_comes_from_the_bucket() {
    let (upstream, layer, digest) = model(Manners::default()).await;
    let bucket = Pounce::with(&[]).await;
    let (s3, url) = (bucket.as_s3(), upstream.url());
    let pounce = Pounce::with(&[&borrowed(&s3)[..], &[("REGISTRY_PROXY_REMOTEURL", &url)]].concat()).await;
    let mut ollama = of(&pounce);
    let direct = ollama.direct(MODEL, &digest).await.unwrap();
    assert!(ollama.parts(&direct, 0, SIZE as u64).await == layer);
    bucket.until_stored(&digest).await;
    pounce.until_quiet().await;
    upstream.forget();
    // The URL that was made while the blob was cold leads to the bucket now.
    let path = path(&direct);
    let part = pounce.range(&path, "bytes=0-9").await;
    assert_eq!(part.status, 307);
    assert!(part.header("location").starts_with(&bucket.url("/")), "{part:?}");
    assert!(ollama.parts(&direct, 0, SIZE as u64).await == layer);
    assert!(ollama.pull(MODEL, &digest).await.unwrap() == layer);
    assert_eq!(upstream.requests(), 0);
}

/// The path and query of a URL.
fn path(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap())
}

#[tokio::test]
async fn the_answer_with_the_url_has_no_body_and_is_not_kept() {
    let (upstream, _, digest) = model(Manners::default()).await;
    let pounce = Pounce::before(&upstream).await;
    let blob = format!("/v2/{MODEL}/blobs/{digest}");
    let asked = || pounce.request("GET", &blob).header("user-agent", "ollama/0.5.1 (arm64 darwin) Go/go1.23");
    let reply = pounce.send(asked()).await;
    assert_eq!((reply.status, reply.body.len(), reply.whole), (200, 0, true));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("docker-content-digest"), "", "the body is not the blob");
    assert!(reply.header("location").starts_with(&format!("{blob}?_expires=")), "{reply:?}");
    // No byte of the blob was asked for.
    assert_eq!(upstream.blob_bytes(), 0);
    // Earlier Ollamas fetch some models by ranges of the blob itself, and other clients get what they always got.
    assert_eq!(pounce.send(asked().header("range", "bytes=0-9")).await.status, 206);
    assert_eq!(pounce.get(&blob).await.body.len(), SIZE);
    let missing = format!("/v2/{MODEL}/blobs/sha256:{}", "0".repeat(64));
    let asked = pounce.request("GET", &missing).header("user-agent", "ollama/0.5.1");
    assert_eq!(pounce.send(asked).await.code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_pull_goes_on_after_a_restart_of_either_side() {
    let (upstream, layer, digest) = model(Manners::default()).await;
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_HTTP_SECRET", "shared")];
    let pounce = Pounce::with(&variables).await;
    let mut ollama = of(&pounce);
    let direct = ollama.direct(MODEL, &digest).await.unwrap();
    let before = ollama.part(&direct, 0, 4 * PART + 99).await.body;
    drop(ollama);
    let pounce = pounce.restart(&variables).await;
    // The rest at the old URL, and at the one that a new process of the client asks for; without a HEAD.
    let mut ollama = of(&pounce);
    let direct: Url = pounce.url(&path(&direct)).parse().unwrap();
    for direct in [direct, ollama.direct(MODEL, &digest).await.unwrap()] {
        let rest = ollama.parts(&direct, 4 * PART + 100, SIZE as u64).await;
        assert!([&before[..], &rest].concat() == layer);
    }
}

#[tokio::test]
async fn a_size_that_no_head_tells_is_asked_for_with_one_byte() {
    let (upstream, _, digest) = model(Manners { refuses_blob_heads: true, ..Manners::default() }).await;
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(of(&pounce).size(MODEL, &digest).await.unwrap(), SIZE as u64);
    let ranges: Vec<_> = upstream.seen().iter().filter_map(|seen| seen.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=0-0"]);
}

/// A signed URL's query, made with the secret.
fn signed(secret: &str, name: &str, digest: &str, expires: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("pounce URL to read a blob 1\0{name}\0{digest}\0").as_bytes());
    mac.update(&expires.to_be_bytes());
    format!("_expires={expires}&_signature={}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_url_is_good_for_its_blob_and_its_time_only() {
    let users = user("alice");
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &users), ("REGISTRY_HTTP_SECRET", "shared")]).await;
    let (blob, manifest) = push(&pounce, "alice", "a/b", 1).await;
    push(&pounce, "alice", "a/c", 1).await;
    let path = format!("/v2/a/b/blobs/{blob}");
    let asked = pounce.request("GET", &path).header("user-agent", "ollama/0.12.0");
    let reply = pounce.send(by("alice", asked)).await;
    let own = reply.header("location").to_owned();
    let query = own.split_once('?').unwrap().1;
    // Without a login, and with one that is wrong.
    let whole = pounce.get(&own).await;
    assert_eq!((whole.status, digest(&whole.body)), (200, blob.clone()));
    assert_eq!(pounce.send(pounce.request("GET", &own).bearer_auth("nonsense")).await.status, 200);
    assert_eq!(pounce.range(&own, "bytes=1-3").await.body, whole.body.slice(1..4));
    assert_eq!(pounce.head(&own).await.header("content-length"), whole.body.len().to_string());
    let later = now() + 60;
    assert_eq!(pounce.get(&format!("{path}?{}", signed("shared", "a/b", &blob, later))).await.status, 200);

    let changed = own.replace("_signature=", "_signature=x");
    let sooner = own.replace("_expires=1", "_expires=2");
    let refused = [
        format!("/v2/a/b/blobs/{manifest}?{query}"),
        format!("/v2/a/c/blobs/{blob}?{query}"),
        changed,
        sooner,
        own[..own.len() - 1].to_owned(),
        own.replace("_expires", "expires"),
        format!("{path}?_signature="),
        format!("{path}?{}", signed("shared", "a/b", &blob, now())),
        format!("{path}?{}", signed("shared", "a/b", &blob, 0)),
        format!("{path}?{}", signed("guessed", "a/b", &blob, later)),
    ];
    let mut said = Vec::new();
    for url in &refused {
        let reply = pounce.get(url).await;
        assert_eq!((reply.status, &reply.code()[..]), (403, "DENIED"), "{url}");
        said.push(reply.body);
    }
    said.dedup();
    assert_eq!(said.len(), 1, "the error tells what is wrong");
    // It reads, and does nothing else, anywhere else.
    for (method, url) in [
        ("DELETE", own.clone()),
        ("GET", path.clone()),
        ("GET", format!("/v2/a/b/manifests/v1?{query}")),
        ("GET", format!("/v2/a/b/tags/list?{query}")),
        ("POST", format!("/v2/a/b/blobs/uploads/?{query}")),
    ] {
        assert_eq!(pounce.send(pounce.request(method, &url)).await.status, 401, "{method} {url}");
    }
    assert_eq!(pounce.send(pounce.request("PUT", &own)).await.status, 405);
}

#[tokio::test]
async fn a_range_that_is_not_there_is_refused_at_a_signed_url_too() {
    let (upstream, _, digest) = model(Manners::default()).await;
    let pounce = Pounce::before(&upstream).await;
    let direct = of(&pounce).direct(MODEL, &digest).await.unwrap();
    let reply = pounce.range(&path(&direct), &format!("bytes={SIZE}-")).await;
    assert_eq!((reply.status, reply.header("content-range")), (416, &format!("bytes */{SIZE}")[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_no_signature() {
    let (upstream, layer, digest) = model(Manners::default()).await;
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_LOG_LEVEL", "debug")]);
    let mut ollama = Ollama::of(&process.url("/"), PART);
    let direct = ollama.direct(MODEL, &digest).await.unwrap();
    assert!(ollama.parts(&direct, 0, SIZE as u64).await == layer);
    let signature = direct.query_pairs().find(|(key, _)| key == "_signature").unwrap().1.into_owned();
    let replayed = process.url(&path(&direct).replace(&digest, &format!("sha256:{}", "1".repeat(64))));
    assert_eq!(reqwest::get(replayed).await.unwrap().status(), 403);
    process.until("DENIED");
    process.terminate();
    let (_, log) = process.end();
    assert!(log.contains(&digest) && !log.contains(&signature) && !log.contains("_expires"));
}

/// An upstream as registry.ollama.ai is: no `/v2/`, manifests as text, HEADs of blobs without a length, refusals that
/// are no JSON.
async fn ollamas_registry(blob: Bytes) -> Scripted {
    let layer = json!({"mediaType": "application/vnd.ollama.image.model", "digest": digest(&blob), "size": blob.len()});
    let config =
        json!({"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest(b"{}"), "size": 2});
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}).to_string();
    Scripted::start(move |seen| {
        let (blob, manifest) = (blob.clone(), manifest.clone());
        async move {
            match &seen.path[..] {
                "/v2/" => text(404, "text/plain; charset=utf-8", "404 page not found"),
                path if path.ends_with("/manifests/latest") => text(200, "text/plain; charset=utf-8", &manifest),
                path if path.ends_with(&digest(&blob)) && seen.method == "HEAD" => {
                    (200, vec![("transfer-encoding", "chunked".to_owned())], Bytes::new())
                }
                path if path.ends_with(&digest(&blob)) => match seen.headers.get("range") {
                    Some(range) if range == "bytes=0-0" => {
                        let range = format!("bytes 0-0/{}", blob.len());
                        (206, vec![("content-range", range)], blob.slice(..1))
                    }
                    _ => (200, vec![], blob),
                },
                _ => text(404, "text/plain; charset=utf-8", "404 page not found"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_for_ollama_alone_needs_no_ping_and_no_user_agent() {
    let blob = noise(3, 300_000);
    let upstream = ollamas_registry(blob.clone()).await;
    let upstreams = |more: &str| format!("[{{host: models.example.com, remoteurl: '{}'{more}}}]", upstream.url());
    let with = upstreams(", client: ollama");
    let pounce = Pounce::with(&[("REGISTRY_PROXY_UPSTREAMS", &with)]).await;
    let name = format!("models.example.com/{MODEL}");
    let mut ollama = Ollama::of(&pounce.url("/"), 100_000);
    let manifest = ollama.manifest(&name, "latest").await.unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert!(ollama.pull(&name, layer).await.unwrap() == blob);
    // A proxy in front may hide the client's name.
    let reply = pounce.get(&format!("/v2/{name}/blobs/{layer}")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(reply.header("location").contains("_signature="));
    let missing = format!("/v2/{name}/manifests/nothere");
    assert_eq!(pounce.get(&missing).await.code(), "MANIFEST_UNKNOWN");

    let mut variables = pounce.as_s3();
    variables.extend([("REGISTRY_HTTP_SECRET", "x".to_owned()), ("REGISTRY_PROXY_UPSTREAMS", with)]);
    let (status, said) = check(&variables).await;
    assert_eq!(status, 0, "{said}");
    variables.pop();
    variables.push(("REGISTRY_PROXY_UPSTREAMS", upstreams("")));
    assert_eq!(check(&variables).await.0, 2);
}

#[tokio::test]
async fn a_head_without_a_length_is_no_answer() {
    let blob = noise(3, 300_000);
    let upstream = ollamas_registry(blob.clone()).await;
    let upstreams = format!("[{{host: models.example.com, remoteurl: '{}', client: ollama}}]", upstream.url());
    let pounce = Pounce::with(&[("REGISTRY_PROXY_UPSTREAMS", &upstreams)]).await;
    let name = format!("models.example.com/{MODEL}");
    let size = Ollama::of(&pounce.url("/"), PART).size(&name, &digest(&blob)).await;
    assert_eq!(size.unwrap(), 300_000);
}

/// `x/transfer`: it follows redirects itself, throws the body at the end away, and then repeats the GET there; or goes
/// where a redirect leads to another host, which for it is one with another spelling. Returns the blob, and how many
/// bytes of it came before.
async fn transfer(pounce: &Pounce, path: &str) -> (Bytes, usize) {
    let ask = |path: &str| pounce.request("GET", path).header("user-agent", "ollama-transfer/1.0");
    let mut path = path.to_owned();
    let mut dropped = 0;
    for _ in 0..10 {
        let reply = pounce.send(ask(&path)).await;
        let location = reply.header("location").to_owned();
        match reply.status {
            200 => {
                dropped += reply.body.len();
                break;
            }
            307 => {
                let authority = format!("http://{}", pounce.addr);
                let is_here = location.starts_with('/') || location.starts_with(&authority);
                // The tests' stand-in for the default port.
                let location = location.trim_start_matches(&authority);
                path = location.replacen("https://models.example.com:443", "", 1);
                if !is_here {
                    break;
                }
            }
            status => panic!("status {status}"),
        }
    }
    let reply = pounce.send(ask(&path)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    (reply.body, dropped)
}

#[tokio::test]
async fn the_client_for_many_small_blobs_gets_them_once_where_its_host_has_the_default_port() {
    let bucket = Pounce::with(&[]).await;
    let (own, s3) = ("https://models.example.com", bucket.as_s3());
    for (host, storage) in [(None, &[][..]), (Some(own), &[][..]), (Some(own), &s3[..])] {
        let (upstream, layer, digest) = model(Manners::default()).await;
        let url = upstream.url();
        let host = host.map(|host| ("REGISTRY_HTTP_HOST", host));
        let storage = borrowed(storage);
        let variables: Vec<_> = storage.iter().copied().chain(host).collect();
        let pounce = Pounce::with(&[&variables[..], &[("REGISTRY_PROXY_REMOTEURL", &url)]].concat()).await;
        let path = format!("/v2/{MODEL}/blobs/{digest}");
        let (blob, dropped) = transfer(&pounce, &path).await;
        assert!(blob == layer);
        assert_eq!(dropped, if host.is_some() { 0 } else { SIZE });
        let stored = if storage.is_empty() { &pounce } else { &bucket };
        stored.until_stored(&digest).await;
        pounce.until_quiet().await;
        if storage.is_empty() {
            assert!(transfer(&pounce, &path).await.0 == layer);
        }
        assert_eq!(upstream.blob_bytes(), SIZE);
        bucket.until_quiet().await;
    }
}
