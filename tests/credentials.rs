//! pounce's identity at an upstream: credentials, tokens, and the hosts that must not get them.

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Auth, Image, Pounce, Upstream};

#[tokio::test]
async fn basic_and_bearer_credentials_are_sent_where_they_are_demanded() {
    for auth in [Auth::Basic, Auth::Bearer, Auth::AnonymousBearer] {
        let upstream = Upstream::start().await;
        let image = Image::new(1, &[1000]);
        upstream.add("a/b", "v1", &image);
        upstream.behave(Manners { auth: auth.clone(), expires_in: 300, ..Manners::default() });
        let url = upstream.url();
        let mut variables = vec![("REGISTRY_PROXY_REMOTEURL", url.as_str())];
        if auth != Auth::AnonymousBearer {
            variables.extend([("REGISTRY_PROXY_USERNAME", "user"), ("REGISTRY_PROXY_PASSWORD", "secret")]);
        }
        let pounce = Pounce::with(&variables).await;
        assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.body, image.manifest, "{auth:?}");
        assert_eq!(pounce.get(&format!("/v2/a/b/blobs/{}", digest(image.layer()))).await.body, image.layer());
        // One challenge, and one token for all further requests in the repository.
        let unanswered = upstream
            .seen()
            .iter()
            .filter(|seen| !seen.headers.contains_key("authorization") && !seen.path.starts_with("/token"))
            .count();
        assert_eq!(unanswered, 1, "{auth:?}");
        assert_eq!(upstream.count("GET", "/token"), usize::from(auth != Auth::Basic));
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_when_many_ask_and_again_when_it_expires() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000, 1001, 1002, 1003]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { auth: Auth::AnonymousBearer, expires_in: 1, ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    let paths: Vec<_> = image.blobs.iter().map(|blob| format!("/v2/a/blobs/{}", digest(blob))).collect();
    for reply in join_all(paths.iter().map(|path| pounce.get(path))).await {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(upstream.count("GET", "/token"), 1);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(upstream.count("GET", "/token"), 2);
}

#[tokio::test]
async fn refused_credentials_are_404_for_an_anonymous_pounce_and_403_otherwise() {
    for status in [401, 403] {
        let upstream = Upstream::start().await;
        upstream.behave(Manners { status: Some(status), ..Manners::default() });
        let url = upstream.url();
        let anonymous = Pounce::before(&upstream).await;
        assert_eq!(anonymous.get("/v2/a/manifests/v1").await.code(), "MANIFEST_UNKNOWN");
        let variables = [
            ("REGISTRY_PROXY_REMOTEURL", url.as_str()),
            ("REGISTRY_PROXY_USERNAME", "user"),
            ("REGISTRY_PROXY_PASSWORD", "wrong"),
        ];
        let reply = Pounce::with(&variables).await.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "DENIED"));
        assert!(!String::from_utf8_lossy(&reply.body).contains("user"), "what the log knows is not for clients");
    }
}

#[tokio::test]
async fn credentials_stay_behind_when_the_upstream_redirects() {
    let (upstream, storage) = (Upstream::start().await, Upstream::start().await);
    let image = Image::new(1, &[1000]);
    upstream.add("a", "v1", &image);
    storage.add("a", "v1", &image);
    let manners = Manners { auth: Auth::Basic, redirects_blobs_to: Some(storage.url()), ..Manners::default() };
    upstream.behave(manners);
    let url = upstream.url();
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", url.as_str()),
        ("REGISTRY_PROXY_USERNAME", "user"),
        ("REGISTRY_PROXY_PASSWORD", "secret"),
    ];
    let pounce = Pounce::with(&variables).await;
    assert_eq!(pounce.get(&format!("/v2/a/blobs/{}", digest(image.layer()))).await.body, image.layer());
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_realm_that_is_gone_fails_its_own_request_and_no_other() {
    let upstream = Upstream::start().await;
    upstream.add("good", "v1", &Image::new(1, &[10]));
    upstream.add("good", "v2", &Image::new(2, &[10]));
    upstream.add("bad", "v1", &Image::new(3, &[10]));
    upstream.behave(Manners { broken_realm_for: Some("bad".into()), ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(pounce.get("/v2/good/manifests/v1").await.status, 200);
    let reply = pounce.get("/v2/bad/manifests/v1").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(pounce.get("/v2/good/manifests/v2").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_drops_its_demands_is_believed() {
    let upstream = Upstream::start().await;
    for tag in ["v1", "v2"] {
        upstream.add("a", tag, &Image::new(tag.len() as u64, &[10]));
    }
    upstream.behave(Manners { auth: Auth::AnonymousBearer, expires_in: 1, ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    // The upstream no longer demands a token, and its token server is gone.
    upstream.behave(Manners { auth: Auth::Nothing, status: None, ..Manners::default() });
    assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 200);
}
