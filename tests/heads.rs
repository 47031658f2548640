//! Upstreams without HEAD, or with a broken HEAD.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::image::digest;
use crate::support::scripted::{by_digest, manifest, refusal};
use crate::support::{Image, Pounce, Scripted};

/// An upstream with the image as `v1` of any repository, which answers HEAD with this status.
async fn without_head(image: &Arc<Mutex<Image>>, status: u16) -> Scripted {
    let image = Arc::clone(image);
    Scripted::start(move |seen| {
        let image = image.lock().unwrap().clone();
        async move {
            if seen.method == "HEAD" {
                return (status, vec![], "".into());
            }
            if seen.path.ends_with("/manifests/v1") {
                return manifest(&image);
            }
            by_digest(&image, &seen.path).unwrap_or_else(|| refusal(404, "MANIFEST_UNKNOWN"))
        }
    })
    .await
}

#[tokio::test]
async fn a_moved_tag_is_noticed_without_head() {
    for status in [400, 401, 403, 404, 405, 406, 410, 501] {
        let image = Arc::new(Mutex::new(Image::new(1, &[10])));
        let upstream = without_head(&image, status).await;
        let pounce =
            Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
        let path = "/v2/a/manifests/v1";
        assert_eq!(pounce.get(path).await.status, 200);
        pounce.until_quiet().await;
        let moved = Image::new(2, &[10]);
        *image.lock().unwrap() = moved.clone();
        let reply = pounce.get(path).await;
        assert_eq!(reply.body, moved.manifest, "{status}: {reply:?}");
        assert_eq!(reply.header("warning"), "");
        pounce.until_quiet().await;
        // pounce does not repeat the failing HEAD, and an unchanged tag costs one GET.
        let gets = upstream.count("GET", path);
        for _ in 0..3 {
            assert_eq!(pounce.get(path).await.body, moved.manifest);
            pounce.until_quiet().await;
        }
        assert_eq!(upstream.count("HEAD", path), 1, "{status}");
        assert_eq!(upstream.count("GET", path), gets + 3, "{status}");
    }
}

#[tokio::test]
async fn a_tag_that_is_gone_does_not_make_heads_useless() {
    let there = Arc::new(AtomicUsize::new(1));
    let image = Image::new(1, &[10]);
    let upstream = {
        let (there, image) = (Arc::clone(&there), image.clone());
        Scripted::start(move |seen| {
            let is_there = there.load(Ordering::SeqCst) == 1 || !seen.path.ends_with("/v1");
            let image = image.clone();
            async move { if is_there { manifest(&image) } else { refusal(404, "MANIFEST_UNKNOWN") } }
        })
        .await
    };
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
    for tag in ["v1", "v2"] {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(pounce.get(&path).await.status, 200);
    }
    pounce.until_quiet().await;
    there.store(0, Ordering::SeqCst);
    // One HEAD, and one GET to confirm it, however many clients ask.
    for _ in 0..5 {
        let gone = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!((gone.status, &gone.code()[..]), (404, "MANIFEST_UNKNOWN"));
    }
    let seen = upstream.seen();
    let asked = seen.iter().filter(|it| it.path.ends_with("/v1")).count();
    assert_eq!(asked, 3);
    let gets = upstream.count("GET", "/v2/a/manifests/v2");
    assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 200);
    assert_eq!(upstream.count("GET", "/v2/a/manifests/v2"), gets);
    assert_eq!(upstream.count("HEAD", "/v2/a/manifests/v2"), 1);
}

#[tokio::test]
async fn a_blob_of_another_repositorys_is_found_without_head() {
    for status in [400, 401, 403, 404, 405, 501] {
        let image = Image::new(1, &[300_000]);
        let upstream = without_head(&Arc::new(Mutex::new(image.clone())), status).await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        let layer = digest(image.layer());
        assert_eq!(pounce.pull("a", &layer).await, *image.layer());
        pounce.until_stored(&layer).await;
        for repository in ["b", "c"] {
            let path = format!("/v2/{repository}/blobs/{layer}");
            assert_eq!(pounce.get(&path).await.status, 307, "{status}");
            let head = pounce.head(&path).await;
            assert_eq!((head.status, head.header("content-length")), (200, "300000"));
            // The GET asks for one byte only.
            let seen = upstream.seen();
            let mut asked = seen.iter().filter(|it| it.method == "GET" && it.path == path);
            assert!(asked.all(|it| it.headers["range"] == "bytes=0-0"));
        }
        assert_eq!(upstream.count("HEAD", "/blobs/"), 1, "{status}");
        let unknown = format!("/v2/b/blobs/{}", digest(b"nothing"));
        assert_eq!(pounce.head(&unknown).await.status, 404, "{status}");
    }
}

#[tokio::test]
async fn a_blob_that_is_not_there_costs_one_head_where_heads_work() {
    let image = Image::new(1, &[1000]);
    let upstream = {
        let image = image.clone();
        Scripted::start(move |seen| {
            let found = by_digest(&image, &seen.path);
            async move { found.unwrap_or_else(|| refusal(404, "BLOB_UNKNOWN")) }
        })
        .await
    };
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let head = async |content: &[u8]| {
        let path = format!("/v2/a/blobs/{}", digest(content));
        pounce.head(&path).await.status
    };
    assert_eq!(head(image.layer()).await, 200);
    for nothing in ["x", "y", "z"] {
        assert_eq!(head(nothing.as_bytes()).await, 404);
    }
    assert_eq!(upstream.count("HEAD", "/blobs/"), 4);
    assert_eq!(upstream.count("GET", "/blobs/"), 0);
}

#[tokio::test]
async fn a_head_that_fails_hides_no_moved_tag() {
    for status in [500, 502, 503] {
        let image = Arc::new(Mutex::new(Image::new(1, &[10])));
        let upstream = without_head(&image, status).await;
        let pounce =
            Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
        let path = "/v2/a/manifests/v1";
        assert_eq!(pounce.get(path).await.status, 200);
        pounce.until_quiet().await;
        let moved = Image::new(2, &[10]);
        *image.lock().unwrap() = moved.clone();
        for _ in 0..4 {
            let reply = pounce.get(path).await;
            assert_eq!(reply.body, moved.manifest, "{status}: {reply:?}");
            assert_eq!(reply.header("warning"), "");
            pounce.until_quiet().await;
        }
        // The first failure may be temporary; the second one counts as lasting.
        assert_eq!(upstream.count("HEAD", path), 2, "{status}");
        let layer = digest(moved.layer());
        assert_eq!(pounce.pull("a", &layer).await, *moved.layer());
        pounce.until_stored(&layer).await;
        let head = pounce.head(&format!("/v2/b/blobs/{layer}")).await;
        assert_eq!((head.status, head.header("content-length")), (200, "10"));
    }
}

#[tokio::test]
async fn a_head_that_is_limited_costs_no_get() {
    let image = Arc::new(Mutex::new(Image::new(1, &[10])));
    let upstream = without_head(&image, 429).await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
    let path = "/v2/a/manifests/v1";
    assert_eq!(pounce.get(path).await.status, 200);
    pounce.until_quiet().await;
    let gets = upstream.count("GET", path);
    let reply = pounce.get(path).await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("warning").starts_with("110 "));
    assert_eq!(upstream.count("GET", path), gets);
}
