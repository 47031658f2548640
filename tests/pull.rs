//! Pulling (spec, "Pull"): end-1, end-2 and end-3, cold and warm.

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::{Image, Pounce, Upstream};

async fn one_image() -> (Upstream, Pounce, Image) {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[100_000, 0, 3_000_000]);
    upstream.add("org/app", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    (upstream, pounce, image)
}

#[tokio::test]
async fn end_1_says_that_this_is_a_registry() {
    let (_upstream, pounce, _) = one_image().await;
    for path in ["/v2/", "/v2"] {
        let reply = pounce.get(path).await;
        assert_eq!((reply.status, reply.header("docker-distribution-api-version")), (200, "registry/2.0"));
    }
    assert_eq!(pounce.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn end_3_a_manifest_comes_byte_for_byte_by_tag_and_by_digest() {
    let (_upstream, pounce, image) = one_image().await;
    for reference in ["v1", &image.digest()] {
        let path = format!("/v2/org/app/manifests/{reference}");
        let (got, head) = (pounce.get(&path).await, pounce.head(&path).await);
        assert_eq!((got.status, &got.body), (200, &image.manifest));
        assert_eq!((head.status, head.body.len()), (200, 0));
        for reply in [got, head] {
            assert_eq!(reply.header("content-type"), OCI_MANIFEST);
            assert_eq!(reply.header("docker-content-digest"), image.digest());
            assert_eq!(reply.header("content-length"), image.manifest.len().to_string());
        }
    }
}

/// Some clients escape a name as one segment of the path, or end a path with a slash, and distribution takes both.
#[tokio::test]
async fn a_name_may_have_escaped_slashes_and_a_path_may_end_with_one() {
    let (upstream, pounce, image) = one_image().await;
    for path in ["/v2/org%2Fapp/manifests/v1", "/v2/org/app/manifests/v1", "/v2/org%2fapp/manifests/v1"] {
        let got = pounce.get(path).await;
        assert_eq!((got.status, &got.body), (200, &image.manifest), "{path}");
    }
    for path in ["/v2/org%2Fapp/tags/list", "/v2/org/app/tags/list/"] {
        let tags = pounce.get(path).await;
        assert_eq!(&tags.body[..], br#"{"name":"org/app","tags":["v1"]}"#, "{path}");
    }
    assert!(upstream.seen().iter().all(|request| !request.path.contains('%')));
    let begun = pounce.send(pounce.request("POST", "/v2/pushed%2Fapp/blobs/uploads/")).await;
    assert_eq!(begun.status, 202);
    assert!(begun.header("location").contains("/v2/pushed/app/blobs/uploads/"));
}

#[tokio::test]
async fn end_3_every_kind_of_manifest_keeps_its_type() {
    let (upstream, pounce, image) = one_image().await;
    let kinds = [
        (
            "index",
            OCI_INDEX,
            format!(
                r#"{{"schemaVersion":2,  "manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1}}]}}"#,
                image.digest()
            ),
        ),
        (
            "list",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            r#"{"schemaVersion":2,"manifests":[]}"#.into(),
        ),
        (
            "schema2",
            "application/vnd.docker.distribution.manifest.v2+json",
            r#"{"schemaVersion":2,"layers":[]}"#.into(),
        ),
        ("odd", "application/vnd.example+json", "{ }".into()),
    ];
    for (tag, media_type, bytes) in kinds {
        upstream.add_manifest("org/app", tag, media_type, bytes.clone());
        // From upstream, from memory, and by digest.
        for reference in [tag, tag, &digest(bytes.as_bytes())] {
            let reply = pounce.get(&format!("/v2/org/app/manifests/{reference}")).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, media_type));
            assert_eq!(reply.body, bytes.as_bytes());
        }
    }
    // And from the bucket, after a restart.
    let pounce = pounce.restart(&[]).await;
    let reply = pounce.get("/v2/org/app/manifests/odd").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/vnd.example+json"));
}

#[tokio::test]
async fn end_3_several_accept_lines_reach_the_upstream_joined() {
    let (upstream, pounce, _) = one_image().await;
    let request = pounce.request("GET", "/v2/org/app/manifests/v1");
    let request =
        request.header("accept", "application/vnd.one+json, */*").header("accept", "application/vnd.two+json;q=0.5");
    assert_eq!(pounce.send(request).await.status, 200);
    let seen = upstream.seen();
    let accept = seen[0].headers["accept"].to_str().unwrap();
    for expected in ["application/vnd.one+json", "application/vnd.two+json", OCI_INDEX, OCI_MANIFEST] {
        assert!(accept.split(", ").any(|text| text == expected), "{accept}");
    }
}

#[tokio::test]
async fn end_3_a_client_that_has_the_manifest_is_told_so() {
    let (_upstream, pounce, image) = one_image().await;
    let request =
        pounce.request("GET", "/v2/org/app/manifests/v1").header("if-none-match", format!("\"{}\"", image.digest()));
    let reply = pounce.send(request).await;
    assert_eq!((reply.status, reply.body.len()), (304, 0));
}

#[tokio::test]
async fn end_2_a_cold_blob_streams_and_a_warm_one_redirects() {
    let (upstream, pounce, image) = one_image().await;
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
    for blob in &image.blobs {
        let path = format!("/v2/org/app/blobs/{}", digest(blob));
        let cold = pounce.get(&path).await;
        assert_eq!((cold.status, &cold.body), (200, blob));
        assert_eq!(cold.header("content-length"), blob.len().to_string());
        assert_eq!(cold.header("docker-content-digest"), digest(blob));
        pounce.until_stored(&digest(blob)).await;
    }
    upstream.forget();
    let through = pounce.metric("blob_bytes").await;
    for blob in &image.blobs {
        let path = format!("/v2/org/app/blobs/{}", digest(blob));
        let warm = pounce.get(&path).await;
        assert_eq!((warm.status, warm.body.len(), warm.header("cache-control")), (307, 0, "no-store"));
        assert_eq!(warm.header("docker-content-digest"), digest(blob));
        assert_eq!(pounce.follow(&warm).await.body, blob);
        // The same URL again, because it is reused.
        assert_eq!(pounce.get(&path).await.header("location"), warm.header("location"));
    }
    assert_eq!((upstream.requests(), pounce.metric("blob_bytes").await), (0, through));
}

#[tokio::test]
async fn end_2_head_tells_the_size_cold_and_warm() {
    let (upstream, pounce, image) = one_image().await;
    let (blob, path) = (image.layer(), format!("/v2/org/app/blobs/{}", digest(image.layer())));
    let check = |reply: crate::support::Reply| {
        assert_eq!((reply.status, reply.header("content-length")), (200, blob.len().to_string().as_str()));
        assert_eq!(reply.header("docker-content-digest"), digest(blob));
    };
    check(pounce.head(&path).await);
    assert_eq!((upstream.count("HEAD", "/blobs/"), upstream.count("GET", "/blobs/")), (1, 0));
    // The manifest's descriptor is enough.
    pounce.get("/v2/org/app/manifests/v1").await;
    upstream.forget();
    check(pounce.head(&path).await);
    assert_eq!(upstream.requests(), 0);
    pounce.get(&path).await;
    pounce.until_stored(&digest(blob)).await;
    check(pounce.head(&path).await);
}

#[tokio::test]
async fn end_2_ranges_are_honoured_cold_and_warm() {
    let (_upstream, pounce, image) = one_image().await;
    let blob = &image.blobs[3];
    let (size, path) = (blob.len(), format!("/v2/org/app/blobs/{}", digest(blob)));
    let cases = [("bytes=10-19", 10..20), ("bytes=2999990-", 2_999_990..size), ("bytes=-5", size - 5..size)];
    for (range, expected) in cases.clone() {
        let reply = pounce.range(&path, range).await;
        assert!([206, 307].contains(&reply.status), "{reply:?}");
        let reply = if reply.status == 307 {
            let request = reqwest::Client::new().get(reply.header("location")).header("range", range);
            pounce.send(request).await
        } else {
            reply
        };
        assert_eq!((reply.status, &reply.body), (206, &blob.slice(expected.clone())), "{range}");
        let content_range = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(reply.header("content-range"), content_range);
    }
    pounce.until_stored(&digest(blob)).await;
    let warm = pounce.get(&path).await;
    let request = reqwest::Client::new().get(warm.header("location")).header("range", format!("bytes={size}-"));
    assert_eq!(pounce.send(request).await.status, 416);
}

#[tokio::test]
async fn nothing_is_asked_upstream_or_of_the_bucket_twice_for_a_blob_of_another_repository() {
    let (upstream, pounce, image) = one_image().await;
    upstream.add("other/app", "v1", &image);
    let blob = digest(image.layer());
    pounce.get(&format!("/v2/org/app/blobs/{blob}")).await;
    pounce.until_stored(&blob).await;
    upstream.forget();
    // The bucket has the bytes, but only the upstream knows whether the other repository has the blob.
    assert_eq!(pounce.get(&format!("/v2/other/app/blobs/{blob}")).await.status, 307);
    assert_eq!((upstream.count("HEAD", "/other/app/blobs/"), upstream.count("GET", "/blobs/")), (1, 0));
    assert_eq!(pounce.get(&format!("/v2/third/app/blobs/{blob}")).await.code(), "BLOB_UNKNOWN");
    let hex = blob.strip_prefix("sha256:").unwrap();
    let link = format!("docker/registry/v2/repositories/other/app/_layers/sha256/{hex}/link");
    pounce.until("the other repository has its link", |it| it.objects().contains(&link)).await;
}

#[tokio::test]
async fn a_restarted_pounce_serves_from_the_bucket_alone() {
    let (upstream, pounce, image) = one_image().await;
    pounce.get("/v2/org/app/manifests/v1").await;
    for blob in &image.blobs {
        pounce.get(&format!("/v2/org/app/blobs/{}", digest(blob))).await;
        pounce.until_stored(&digest(blob)).await;
    }
    drop(upstream);
    // Without an upstream at all.
    let pounce = pounce.restart(&[]).await;
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.body, image.manifest);
    for blob in &image.blobs {
        let reply = pounce.get(&format!("/v2/org/app/blobs/{}", digest(blob))).await;
        assert_eq!(pounce.follow(&reply).await.body, blob);
    }
}
