//! The bucket: embedded or external, redirected to or streamed from.

use crate::support::image::digest;
use crate::support::{Image, Pounce, Upstream, borrowed};

pub async fn warm(variables: &[(&str, &str)]) -> (Upstream, Pounce, Image, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[300_000]);
    upstream.add("a/b", "v1", &image);
    let url = upstream.url();
    let mut all = vec![("REGISTRY_PROXY_REMOTEURL", url.as_str())];
    all.extend_from_slice(variables);
    let pounce = Pounce::with(&all).await;
    let path = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    pounce.get("/v2/a/b/manifests/v1").await;
    pounce.get(&path).await;
    pounce.until_stored(&digest(image.layer())).await;
    (upstream, pounce, image, path)
}

#[tokio::test]
async fn the_layout_is_distributions_and_links_hold_digests() {
    let (_upstream, pounce, image, _) = warm(&[]).await;
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let (manifest, layer) = (image.digest(), digest(image.layer()));
    let blob = |digest: &str| format!("docker/registry/v2/blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest));
    let repository = "docker/registry/v2/repositories/a/b";
    let mut expected = vec![
        blob(&layer),
        blob(&manifest),
        format!("{repository}/_layers/sha256/{}/link", hex(&layer)),
        format!("{repository}/_manifests/revisions/sha256/{}/link", hex(&manifest)),
        format!("{repository}/_manifests/tags/v1/current/link"),
        format!("{repository}/_manifests/tags/v1/index/sha256/{}/link", hex(&manifest)),
    ];
    expected.sort();
    pounce.until("everything is stored", |it| it.objects().len() >= expected.len()).await;
    assert_eq!(pounce.objects(), expected);
    for (key, content) in [(&expected[2], &layer), (&expected[3], &manifest), (&expected[4], &manifest)] {
        assert_eq!(std::fs::read_to_string(pounce.root().join(key)).unwrap(), *content);
    }
}

#[tokio::test]
async fn what_distribution_stored_is_served() {
    // A folder as distribution's filesystem driver leaves it: without attributes and metadata.
    let image = Image::new(5, &[1000]);
    let pounce = Pounce::with(&[]).await;
    let write = |key: String, content: &[u8]| {
        let path = pounce.root().join("docker/registry/v2").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    for content in image.blobs.iter().chain([&image.manifest]) {
        let hex = hex(&digest(content));
        write(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), content);
        write(format!("repositories/x/_layers/sha256/{hex}/link"), digest(content).as_bytes());
    }
    let revision = hex(&image.digest());
    write(format!("repositories/x/_manifests/revisions/sha256/{revision}/link"), image.digest().as_bytes());
    write("repositories/x/_manifests/tags/v1/current/link".into(), image.digest().as_bytes());

    let reply = pounce.get("/v2/x/manifests/v1").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, image.media_type.as_str()));
    for blob in &image.blobs {
        let reply = pounce.get(&format!("/v2/x/blobs/{}", digest(blob))).await;
        assert_eq!(pounce.follow(&reply).await.body, blob);
    }
    // Only the repository with the links has them.
    assert_eq!(pounce.get(&format!("/v2/y/manifests/{}", image.digest())).await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(pounce.get(&format!("/v2/y/blobs/{}", digest(image.layer()))).await.code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_pushed_tag_is_never_looked_up_upstream() {
    let (upstream, pounce, image, _) = warm(&[("REGISTRY_PROXY_TAGTTL", "0")]).await;
    let pushed = pounce.root().join("docker/registry/v2/repositories/a/b/_manifests/tags/mine/current/link");
    std::fs::create_dir_all(pushed.parent().unwrap()).unwrap();
    std::fs::write(pushed, image.digest()).unwrap();
    upstream.forget();
    for _ in 0..2 {
        assert_eq!(pounce.get("/v2/a/b/manifests/mine").await.body, image.manifest);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn names_as_long_as_the_spec_lets_them_be_are_stored() {
    let upstream = Upstream::start().await;
    let image = Image::new(6, &[100]);
    let name = format!("{}/{}/{}", "a".repeat(100), "b".repeat(100), "c".repeat(53));
    let tag = "t".repeat(128);
    upstream.add(&name, &tag, &image);
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(pounce.get(&format!("/v2/{name}/manifests/{tag}")).await.status, 200);
    pounce.get(&format!("/v2/{name}/blobs/{}", digest(image.layer()))).await;
    pounce.until_stored(&digest(image.layer())).await;
    pounce.until("the tag is stored", |it| it.objects().iter().any(|key| key.ends_with("current/link"))).await;
    drop(upstream);
    let pounce = pounce.restart(&[]).await;
    assert_eq!(pounce.get(&format!("/v2/{name}/manifests/{tag}")).await.body, image.manifest);
}

#[tokio::test]
async fn without_its_bucket_pounce_says_so() {
    let mut bucket = Pounce::with(&[]).await;
    let pounce = Pounce::with(&borrowed(&bucket.as_s3())).await;
    bucket.end().await;
    let reply = pounce.get("/v2/a/manifests/v1").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_layer_that_another_repository_filled_gets_its_own_link() {
    let (upstream, pounce, image, _) = warm(&[]).await;
    upstream.add("c/d", "v1", &image);
    let layer = digest(image.layer());
    // The repository's manifest names the layer, and another repository's fill stored it.
    pounce.get("/v2/c/d/manifests/v1").await;
    assert_eq!(pounce.get(&format!("/v2/c/d/blobs/{layer}")).await.status, 307);
    let hex = layer.strip_prefix("sha256:").unwrap();
    let link = format!("docker/registry/v2/repositories/c/d/_layers/sha256/{hex}/link");
    pounce.until("it has its link", |it| it.objects().contains(&link)).await;
}

#[tokio::test]
async fn a_push_wins_over_what_the_upstream_says() {
    let (upstream, pounce, image, _) = warm(&[("REGISTRY_PROXY_TAGTTL", "0")]).await;
    let link = pounce.root().join("docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link");
    pounce.until("the tag is stored", |_| link.is_file()).await;
    let pushed = Image::new(9, &[10]);
    // distribution pushes a manifest and moves the tag while pounce waits for the upstream.
    upstream.add("a/b", "v1", &Image::new(10, &[10]));
    upstream.behave(crate::support::upstream::Manners { stalls: true, ..Default::default() });
    let push = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let replaced = link.with_extension("new");
        std::fs::write(&replaced, pushed.digest()).unwrap();
        std::fs::rename(replaced, &link).unwrap();
        upstream.release();
    };
    let (reply, ()) = tokio::join!(pounce.get("/v2/a/b/manifests/v1"), push);
    assert_eq!(reply.status, 200);
    assert_ne!(reply.body, image.manifest);
    let mut pounce = pounce;
    pounce.end().await;
    assert_eq!(std::fs::read_to_string(link).unwrap(), pushed.digest());
}

#[tokio::test]
async fn tags_that_distribution_mirrored_are_not_taken_for_pushed_ones() {
    let upstream = Upstream::start().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    upstream.add("a", "v1", &new);
    let pounce = Pounce::with(&[]).await;
    let tag = pounce.root().join("docker/registry/v2/repositories/a/_manifests/tags/v1/current/link");
    std::fs::create_dir_all(tag.parent().unwrap()).unwrap();
    std::fs::write(tag, old.digest()).unwrap();
    std::fs::write(pounce.root().join("scheduler-state.json"), "{}").unwrap();
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, new.manifest);
}

#[tokio::test]
async fn a_layer_is_no_manifest() {
    let (_upstream, pounce, image, _) = warm(&[]).await;
    let reply = pounce.get(&format!("/v2/a/b/manifests/{}", digest(image.layer()))).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"));
}
