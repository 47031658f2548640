//! Which content a repository holds, where rules depend on it: other programs' pushes, former upstreams, read-only
//! buckets, and clients that make pounce check again and again.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

use super::rules::{anonymous, assert_hidden, catalog, digests, upstream, ways};
use crate::support::front::{Front, forward};
use crate::support::users::{ask, push};
use crate::support::{Image, Pounce, Upstream, borrowed};

/// However often clients list, pounce surveys the bucket only once in a while.
#[tokio::test]
async fn a_catalog_asks_the_bucket_once_for_each_repository() {
    const REPOSITORIES: usize = 30;
    let (upstream, variables) = upstream().await;
    let s3 = Pounce::with(&[]).await;
    let front = Front::before(s3.addr).await;
    let mut all = s3.as_s3_behind(front.addr);
    all.extend(variables);
    let pounce = Pounce::with(&borrowed(&all)).await;
    for number in 0..REPOSITORIES {
        let name = format!("many/r{number}");
        upstream.add(&name, "v1", &Image::new(1, &[1000]));
        let path = format!("/v2/{name}/manifests/v1");
        assert_eq!(anonymous(&pounce, "GET", &path).await.status, 200);
    }
    pounce.until_quiet().await;
    front.take();
    for _ in 0..20 {
        assert_eq!(catalog(&pounce).await.len(), REPOSITORIES);
    }
    let asked = front.take();
    let heads = asked.get("HeadObject").copied().unwrap_or_default();
    assert!(heads <= 2 * REPOSITORIES, "{asked:?}");
}

/// A survey ends at the first pushed tag.
#[tokio::test]
async fn a_survey_of_many_pushed_tags_is_short() {
    const TAGS: usize = 200;
    let (_upstream, variables) = upstream().await;
    let s3 = Pounce::with(&[]).await;
    let front = Front::before(s3.addr).await;
    let mut all = s3.as_s3_behind(front.addr);
    all.extend(variables);
    let pounce = Pounce::with(&borrowed(&all)).await;
    push(&pounce, "admin", "old/tagged", 7).await;
    let repository = s3.root().join("docker/registry/v2/repositories/old/tagged");
    let tags = repository.join("_manifests/tags");
    let link = std::fs::read(tags.join("v1/current/link")).unwrap();
    for number in 0..TAGS {
        let current = tags.join(format!("t{number}/current"));
        std::fs::create_dir_all(&current).unwrap();
        std::fs::write(current.join("link"), &link).unwrap();
    }
    std::fs::remove_dir_all(repository.join("_pushed")).unwrap();
    let replica = Pounce::with(&borrowed(&all)).await;
    front.take();
    let reply = anonymous(&replica, "GET", "/v2/old/tagged/manifests/v1").await;
    assert_eq!(reply.status, 401);
    let asked = front.take();
    assert!(asked["GetObject"] <= 40, "{asked:?}");
    assert!(repository.join("_pushed/link").is_file());
}

/// A read-only bucket is surveyed all the same: the marker only spares the next process the survey.
#[tokio::test]
async fn a_survey_needs_no_marker() {
    let (_upstream, variables) = upstream().await;
    let s3 = Pounce::with(&[]).await;
    let start = async |addr| {
        let mut all = s3.as_s3_behind(addr);
        all.extend(variables.clone());
        Pounce::with(&borrowed(&all)).await
    };
    let pounce = start(s3.addr).await;
    let tagged = push(&pounce, "admin", "old/tagged", 7).await;
    let repository = s3.root().join("docker/registry/v2/repositories/old/tagged");
    std::fs::remove_dir_all(repository.join("_pushed")).unwrap();
    let replica = start(without_markers(s3.addr).await).await;
    assert_hidden(&replica, "old/tagged", &tagged).await;
    assert!(!repository.join("_pushed").exists());
}

/// A front that refuses to write markers.
async fn without_markers(s3: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let client = reqwest::Client::new();
    let pass = move |request: Request| {
        let client = client.clone();
        async move {
            if request.method() == Method::PUT && request.uri().path().contains("/_pushed/") {
                return StatusCode::FORBIDDEN.into_response();
            }
            forward(&client, &s3.to_string(), request).await.unwrap()
        }
    };
    let router = axum::Router::new().fallback(pass);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

/// A former upstream's content does not become the default upstream's.
#[tokio::test]
async fn a_removed_upstream_leaves_nothing_to_the_default_one() {
    let (_upstream, mut variables) = upstream().await;
    let private = Upstream::start().await;
    private.add("org/other", "v1", &Image::new(2, &[1000]));
    private.add("org/untagged", "v1", &Image::new(3, &[1000]));
    let (other, untagged) = (digests(&Image::new(2, &[1000])), digests(&Image::new(3, &[1000])));
    for (name, value) in &mut variables {
        if *name == "REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL" {
            *value = private.url();
        }
    }
    let pounce = Pounce::with(&borrowed(&variables)).await;
    for path in [
        "org/other/manifests/v1".to_owned(),
        format!("org/other/blobs/{}", other.0),
        format!("org/untagged/manifests/{}", untagged.1),
    ] {
        let path = format!("/v2/ghcr.io/{path}");
        assert_eq!(ask(&pounce, "admin", "GET", &path).await.status, 200);
    }
    pounce.until_quiet().await;
    let is_about = |name: &str| name.contains("UPSTREAMS_0");
    let fewer = variables.iter().filter(|it| !is_about(it.0));
    let fewer: Vec<_> = fewer.cloned().collect();
    let pounce = pounce.restart(&borrowed(&fewer)).await;
    for (method, path) in ways("ghcr.io/org/other", &other) {
        let reply = anonymous(&pounce, method, &path).await;
        assert_eq!(reply.status, 401, "{method} {path} {reply:?}");
    }
    let path = format!("/v2/ghcr.io/org/untagged/manifests/{}", untagged.1);
    assert_eq!(anonymous(&pounce, "GET", &path).await.status, 401);
    assert!(catalog(&pounce).await.is_empty());
    // Nor is it marked as pushed for good.
    let repositories = pounce.root().join("docker/registry/v2/repositories");
    assert!(!repositories.join("ghcr.io/org/other/_pushed").exists());
}
