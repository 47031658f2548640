//! Which images may come in (`allow`, `deny`), and tags that never change (`immutable`).

use crate::support::image::digest;
use crate::support::{Image, Pounce, Reply, Upstream};

/// The settings of [`registry`], for a restart.
fn settings(upstream: &Upstream, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let further = format!("[{{host: other.test, remoteurl: '{}', deny: ['secret/**']}}]", upstream.url());
    let own = [("REGISTRY_PROXY_REMOTEURL", &*upstream.url()), ("REGISTRY_PROXY_UPSTREAMS", &*further)];
    own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The upstream is the default one, and one with the host `other.test` as well.
async fn registry(upstream: &Upstream, settings: &[(&str, &str)]) -> Pounce {
    let all = self::settings(upstream, settings);
    Pounce::with(&all.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>()).await
}

async fn restart(pounce: Pounce, upstream: &Upstream, settings: &[(&str, &str)]) -> Pounce {
    let all = self::settings(upstream, settings);
    pounce.restart(&all.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>()).await
}

async fn manifest(pounce: &Pounce, name: &str, reference: &str) -> Reply {
    pounce.get(&format!("/v2/{name}/manifests/{reference}")).await
}

fn message(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[tokio::test]
async fn what_may_not_come_in_is_not_asked_for() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[5000]);
    let names = ["team/app", "team/secret", "other/app", "secret/app"];
    for name in names {
        for tag in ["v1", "v2-rc1", "latest"] {
            upstream.add(name, tag, &image);
        }
    }
    let settings =
        [("REGISTRY_PROXY_ALLOW", "team/*:v*,other/**"), ("REGISTRY_PROXY_DENY", "team/secret,'**:*-rc[0-9]'")];
    let settings = settings.map(|(name, value)| (name, value.replace('\'', "")));
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let pounce = registry(&upstream, &settings).await;
    let (of_manifest, blob) = (image.digest(), digest(image.layer()));
    let cases: [(&str, &str, u16); 12] = [
        ("team/app", "v1", 200),
        ("team/app", "v2-rc1", 403),
        ("team/app", "latest", 403),
        // A digest has no tag.
        ("team/app", &of_manifest, 200),
        ("team/secret", "v1", 403),
        ("team/secret", &of_manifest, 403),
        ("other/app", "latest", 200),
        ("other/app", "v2-rc1", 403),
        ("secret/app", "v1", 403),
        ("other.test/secret/app", "v1", 403),
        ("other.test/team/secret", "v2-rc1", 200),
        // No name says whether there is such an image.
        ("team/secret", "none", 403),
    ];
    for (name, reference, status) in cases {
        let before = upstream.requests();
        let reply = manifest(&pounce, name, reference).await;
        assert_eq!(reply.status, status, "{name}:{reference}");
        if status == 403 {
            assert_eq!((reply.code().as_str(), upstream.requests()), ("DENIED", before), "{name}:{reference}");
            assert!(message(&reply).contains("proxy.allow"), "{reply:?}");
        }
    }
    let before = upstream.requests();
    for path in [format!("/v2/team/secret/blobs/{blob}"), "/v2/secret/app/tags/list".to_owned()] {
        assert_eq!((pounce.get(&path).await.status, pounce.head(&path).await.status), (403, 403), "{path}");
    }
    let referrers = pounce.get(&format!("/v2/team/secret/referrers/{of_manifest}")).await;
    assert_eq!((referrers.status, upstream.requests()), (200, before));
}

#[tokio::test]
async fn what_came_in_before_is_served_without_the_upstream() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[5000]);
    upstream.add("team/app", "v1", &image);
    let pounce = registry(&upstream, &[("REGISTRY_PROXY_TAGTTL", "1ms")]).await;
    assert_eq!(manifest(&pounce, "team/app", "v1").await.status, 200);
    let blob = digest(image.layer());
    assert_eq!(pounce.get(&format!("/v2/team/app/blobs/{blob}")).await.status, 200);
    pounce.until_stored(&blob).await;
    let pounce =
        restart(pounce, &upstream, &[("REGISTRY_PROXY_TAGTTL", "1ms"), ("REGISTRY_PROXY_DENY", "team/**")]).await;
    upstream.forget();
    for _ in 0..2 {
        assert_eq!(manifest(&pounce, "team/app", "v1").await.body, image.manifest);
    }
    assert_eq!(pounce.get("/v2/team/app/tags/list").await.status, 200);
    assert_eq!(pounce.get(&format!("/v2/team/app/blobs/{blob}")).await.status, 307);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn an_immutable_tag_is_never_asked_for_again() {
    let upstream = Upstream::start().await;
    let [first, second] = [1, 2].map(|seed| Image::new(seed, &[5000]));
    for tag in ["v1", "latest"] {
        upstream.add("team/app", tag, &first);
    }
    let settings = [("REGISTRY_PROXY_TAGTTL", "1ms"), ("REGISTRY_PROXY_IMMUTABLE", "['**:v*']")];
    let pounce = registry(&upstream, &settings).await;
    for tag in ["v1", "latest"] {
        assert_eq!(manifest(&pounce, "team/app", tag).await.body, first.manifest);
        pounce.until_quiet().await;
        upstream.add("team/app", tag, &second);
    }
    let pounce = restart(pounce, &upstream, &settings).await;
    upstream.forget();
    assert_eq!(manifest(&pounce, "team/app", "v1").await.body, first.manifest);
    assert_eq!(upstream.requests(), 0);
    // A client of a slow upstream gets what is stored, and the next one what the upstream said.
    let mut moved = manifest(&pounce, "team/app", "latest").await;
    for _ in 0..100 {
        if moved.body == second.manifest {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        moved = manifest(&pounce, "team/app", "latest").await;
    }
    assert_eq!(moved.body, second.manifest);
}

/// With an upstream, and without any.
#[tokio::test]
async fn no_push_moves_an_immutable_tag() {
    let upstream = Upstream::start().await;
    let [first, second] = [1, 2].map(|seed| Image::new(seed, &[5000]));
    upstream.add("team/app", "v0", &first);
    let immutable = [("REGISTRY_PROXY_IMMUTABLE", "team/**:v*"), ("REGISTRY_AUTH_ANONYMOUS", "pull,push,delete")];
    for pounce in [registry(&upstream, &immutable).await, Pounce::with(&immutable).await] {
        pounce.push_image("team/app", "v1", &first).await;
        pounce.push_image("team/app", "v1", &first).await;
        pounce.push_image("team/app", "latest", &first).await;
        pounce.push_image("team/app", "latest", &second).await;
        pounce.push_image("app", "v1", &first).await;
        pounce.push_image("app", "v1", &second).await;
        let objects = pounce.objects();
        let put = async |reference: &str| {
            let bytes = second.manifest.clone();
            pounce.put_manifest("team/app", reference, &second.media_type, bytes).await
        };
        for reference in ["v1".to_owned(), format!("{}?tag=new&tag=v1", second.digest())] {
            let refused = put(&reference).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "{reference}");
            assert!(message(&refused).contains("the tag v1 is immutable"), "{refused:?}");
        }
        assert_eq!(pounce.objects(), objects);
        assert_eq!(manifest(&pounce, "team/app", "v1").await.body, first.manifest);
        // A delete lets it go.
        let deleted = pounce.send(pounce.request("DELETE", "/v2/team/app/manifests/v1")).await;
        assert_eq!((deleted.status, put("v1").await.status), (202, 201));
    }
    // One that came from the upstream.
    let pounce = registry(&upstream, &immutable).await;
    assert_eq!(manifest(&pounce, "team/app", "v0").await.status, 200);
    pounce.until_quiet().await;
    pounce.push_image("team/app", "other", &second).await;
    let refused = pounce.put_manifest("team/app", "v0", &second.media_type, second.manifest.clone()).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn of_two_pushes_at_once_one_makes_the_tag() {
    let images: Vec<Image> = (0..8).map(|seed| Image::new(seed, &[100])).collect();
    let settings = [("REGISTRY_PROXY_IMMUTABLE", "['**']")];
    let first = Pounce::with(&settings).await;
    let bucket = first.as_s3();
    let borrowed: Vec<_> = bucket.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let second = Pounce::with(&[&borrowed[..], &settings].concat()).await;
    for (number, image) in images.iter().enumerate() {
        first.push_image("app", &format!("other-{number}"), image).await;
    }
    let pushes = images.iter().enumerate().map(async |(number, image)| {
        let replica = if number % 2 == 0 { &first } else { &second };
        replica.put_manifest("app", "v1", &image.media_type, image.manifest.clone()).await.status
    });
    let mut statuses = futures_util::future::join_all(pushes).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
}
