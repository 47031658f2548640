//! pounce's behaviour towards an upstream: freshness, outages, redirects.

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

async fn with_ttl(upstream: &Upstream, ttl: &str) -> Pounce {
    Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", ttl)]).await
}

async fn until_tagged(pounce: &Pounce) {
    pounce.until("the tag is stored", |it| it.objects().iter().any(|key| key.ends_with("current/link"))).await;
}

#[tokio::test]
async fn a_fresh_tag_asks_nobody() {
    let upstream = Upstream::start().await;
    upstream.add("a", "v1", &Image::new(1, &[10]));
    let pounce = Pounce::before(&upstream).await;
    pounce.get("/v2/a/manifests/v1").await;
    until_tagged(&pounce).await;
    upstream.forget();
    for _ in 0..5 {
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    }
    // Nor does another process ask: it finds the tag in the bucket.
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_stale_tag_costs_one_head_and_a_manifest_only_when_it_moved() {
    let upstream = Upstream::start().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    upstream.add("a", "v1", &old);
    let pounce = with_ttl(&upstream, "0").await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, old.manifest);
    until_tagged(&pounce).await;
    upstream.forget();
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, old.manifest);
    assert_eq!((upstream.count("HEAD", "/manifests/"), upstream.count("GET", "/manifests/")), (1, 0));
    upstream.add("a", "v1", &new);
    upstream.forget();
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, new.manifest);
    assert_eq!((upstream.count("HEAD", "/manifests/"), upstream.count("GET", "/manifests/")), (1, 1));
}

#[tokio::test]
async fn many_clients_of_one_cold_tag_ask_upstream_once() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    for reply in join_all((0..20).map(|_| pounce.get("/v2/a/manifests/v1"))).await {
        assert_eq!(reply.body, image.manifest);
    }
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn many_clients_of_a_tag_that_is_never_fresh_all_get_it() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    let pounce = with_ttl(&upstream, "0").await;
    // More requests than permits for writing in the background.
    for reply in join_all((0..200).map(|_| pounce.get("/v2/a/manifests/v1"))).await {
        assert_eq!(reply.body, image.manifest);
    }
    until_tagged(&pounce).await;
}

#[tokio::test]
async fn an_upstream_that_hides_digests_still_revalidates() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { hides_digests: true, ..Manners::default() });
    let pounce = with_ttl(&upstream, "0").await;
    for _ in 0..3 {
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, image.manifest);
    }
}

#[tokio::test]
async fn during_an_outage_the_stored_tag_is_served_with_a_warning() {
    let mut upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", url.as_str()), ("REGISTRY_PROXY_TAGTTL", "0")];
    let mut pounce = Pounce::with(&variables).await;
    pounce.get("/v2/a/manifests/v1").await;
    until_tagged(&pounce).await;
    for status in [429, 500, 503] {
        upstream.behave(Manners { status: Some(status), ..Manners::default() });
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.status, &reply.body), (200, &image.manifest));
        assert_eq!(reply.header("warning"), "110 - \"Response is Stale\"", "{status}");
        // While pounce does not ask the upstream again, other clients get the warning, too.
        upstream.forget();
        let reply = pounce.head("/v2/a/manifests/v1").await;
        assert_eq!(reply.header("warning"), "110 - \"Response is Stale\"", "{status}");
        assert_eq!(upstream.requests(), 0);
        pounce = pounce.restart(&variables).await;
    }
    upstream.stop().await;
    let reply = pounce.get("/v2/a/manifests/v1").await;
    assert_eq!((reply.status, reply.header("warning")), (200, "110 - \"Response is Stale\""));
    // Content that is not stored cannot be served, but it is not reported missing.
    let reply = pounce.get("/v2/a/manifests/v2").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_tag_that_is_gone_upstream_is_gone() {
    let upstream = Upstream::start().await;
    upstream.add("a", "v1", &Image::new(1, &[10]));
    let pounce = with_ttl(&upstream, "0").await;
    pounce.get("/v2/a/manifests/v1").await;
    until_tagged(&pounce).await;
    upstream.remove("a", "v1");
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.code(), "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { redirects_blobs_to: Some(upstream.url()), ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    let reply = pounce.get(&format!("/v2/a/blobs/{}", digest(image.layer()))).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn an_upstream_that_refuses_blob_heads_is_asked_by_get() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { refuses_blob_heads: true, ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    let reply = pounce.head(&format!("/v2/a/blobs/{}", digest(image.layer()))).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, "1000"));
}

#[tokio::test]
async fn one_clients_long_accept_does_not_hide_a_tag_from_others() {
    let upstream = Upstream::start().await;
    upstream.add("a", "v1", &Image::new(1, &[10]));
    upstream.behave(Manners { longest_accept: Some(2000), ..Manners::default() });
    let pounce = with_ttl(&upstream, "0").await;
    let mut request = pounce.request("GET", "/v2/a/manifests/v1");
    for n in 0..40 {
        request = request.header("accept", format!("application/{}{n}", "a".repeat(200)));
    }
    assert_eq!(pounce.send(request).await.status, 200);
    // An upstream's 400 does not prove that content is missing.
    upstream.behave(Manners { longest_accept: Some(10), ..Manners::default() });
    let reply = pounce.get("/v2/a/manifests/v2").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
    until_tagged(&pounce).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.header("warning"), "110 - \"Response is Stale\"");
}

#[tokio::test]
async fn those_who_waited_share_a_failure() {
    let upstream = Upstream::start().await;
    upstream.behave(Manners { stalls: true, status: Some(500), ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        upstream.release();
    };
    let (replies, ()) = tokio::join!(join_all((0..10).map(|_| pounce.get("/v2/a/manifests/v1"))), release);
    for reply in replies {
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
    }
    // One attempt, and two retries after a 500.
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn many_clients_of_another_repositorys_blob_ask_upstream_once() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a", "v1", &image);
    upstream.add("b", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    let blob = digest(image.layer());
    pounce.get(&format!("/v2/a/blobs/{blob}")).await;
    pounce.until_stored(&blob).await;
    upstream.forget();
    let path = format!("/v2/b/blobs/{blob}");
    for reply in join_all((0..20).map(|_| pounce.get(&path))).await {
        assert_eq!(reply.status, 307);
    }
    assert_eq!(upstream.requests(), 1);
}
