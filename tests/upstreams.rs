//! Several upstreams: which one a name selects, and that their content never mixes.

use std::collections::BTreeSet;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Auth, Image, Pounce, Upstream, borrowed};

/// A default upstream and one for ghcr.io, each with its own image under the same name.
struct Two {
    default: Upstream,
    ghcr: Upstream,
    ours: Image,
    theirs: Image,
}

impl Two {
    async fn new() -> Self {
        let two = Self {
            default: Upstream::start().await,
            ghcr: Upstream::start().await,
            ours: Image::new(1, &[1000]),
            theirs: Image::new(2, &[1000]),
        };
        two.default.add("org/app", "v1", &two.ours);
        two.ghcr.add("org/app", "v1", &two.theirs);
        two
    }

    async fn pounce(&self, more: &[(&str, &str)]) -> Pounce {
        let (default, ghcr) = (self.default.url(), self.ghcr.url());
        let variables = [
            ("REGISTRY_PROXY_REMOTEURL", &default[..]),
            ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io"),
            ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &ghcr[..]),
        ];
        Pounce::with(&[&variables, more].concat()).await
    }
}

#[tokio::test]
async fn ns_path_and_neither_choose_the_upstream() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    let cases = [
        ("/v2/org/app/manifests/v1", &two.ours),
        ("/v2/org/app/manifests/v1?ns=docker.io", &two.ours),
        ("/v2/docker.io/org/app/manifests/v1", &two.ours),
        ("/v2/ghcr.io/org/app/manifests/v1", &two.theirs),
        ("/v2/org/app/manifests/v1?ns=ghcr.io", &two.theirs),
        ("/v2/org/app/manifests/v1?ns=GHCR.io", &two.theirs),
    ];
    for (path, image) in cases {
        assert_eq!(pounce.get(path).await.body, image.manifest, "{path}");
    }
    for (path, image) in [
        (format!("/v2/org/app/blobs/{}?ns=ghcr.io", digest(two.theirs.layer())), &two.theirs),
        (format!("/v2/org/app/blobs/{}", digest(two.ours.layer())), &two.ours),
    ] {
        assert_eq!(pounce.get(&path).await.body, image.layer(), "{path}");
        pounce.until_stored(&digest(image.layer())).await;
    }
    let list = pounce.get("/v2/org/app/tags/list?ns=ghcr.io").await;
    assert_eq!(list.status, 200);
    // One copy of each, under its own upstream's name.
    let repositories: BTreeSet<String> = pounce
        .objects()
        .iter()
        .filter_map(|key| key.strip_prefix("docker/registry/v2/repositories/"))
        .map(|key| key.split("/_").next().unwrap().to_owned())
        .collect();
    assert_eq!(repositories, ["ghcr.io/org/app".to_owned(), "org/app".to_owned()].into());
    // No upstream gets its own host's name in a path.
    let both = [two.default.seen(), two.ghcr.seen()].concat();
    assert!(both.iter().all(|seen| seen.path.starts_with("/v2/org/app/")));
}

#[tokio::test]
async fn a_blob_of_one_upstream_is_not_the_others() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    let theirs = format!("blobs/{}", digest(two.theirs.layer()));
    assert_eq!(pounce.get(&format!("/v2/ghcr.io/org/app/{theirs}")).await.status, 200);
    pounce.until_stored(&digest(two.theirs.layer())).await;
    for path in [format!("/v2/org/app/{theirs}"), format!("/v2/org/app/{theirs}?ns=docker.io")] {
        let reply = pounce.get(&path).await;
        assert_eq!((reply.status, &reply.code()[..]), (404, "BLOB_UNKNOWN"));
    }
}

#[tokio::test]
async fn what_one_upstream_refuses_another_one_may_have() {
    let two = Two::new().await;
    let pounce = two.pounce(&[]).await;
    two.ghcr.behave(Manners { stalls: true, ..Manners::default() });
    let ours = format!("org/app/blobs/{}", digest(two.ours.layer()));
    // The first fill asks an upstream that lacks the blob, and has no answer yet.
    let (refused, served, ()) = tokio::join!(
        async { pounce.get(&format!("/v2/ghcr.io/{ours}")).await },
        async {
            pounce.until_metric("fills_active", 1).await;
            pounce.get(&format!("/v2/{ours}")).await
        },
        async {
            while two.default.count("HEAD", "/blobs/") == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            two.ghcr.release();
        }
    );
    assert_eq!((refused.status, &refused.code()[..]), (404, "BLOB_UNKNOWN"));
    assert!(served.status == 200 && served.body == two.ours.layer());
}

#[tokio::test]
async fn more_than_ten_upstreams_from_variables() {
    let two = Two::new().await;
    let url = two.ghcr.url();
    let names: Vec<_> = (0..12).map(|index| format!("REGISTRY_PROXY_UPSTREAMS_{index}_")).collect();
    let mut variables = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let url = if index == 11 { url.clone() } else { "http://127.0.0.1:1".to_owned() };
        variables.push((format!("{name}HOST"), format!("r{index}.example.com")));
        variables.push((format!("{name}REMOTEURL"), url));
    }
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let reply = pounce.get("/v2/r11.example.com/org/app/manifests/v1").await;
    assert_eq!(reply.body, two.theirs.manifest);
    assert_eq!(pounce.get("/v2/r10.example.com/org/app/manifests/v1").await.status, 503);
}

#[tokio::test]
async fn a_host_that_nobody_configured_is_never_asked() {
    let two = Two::new().await;
    let elsewhere = Upstream::start().await;
    elsewhere.add("org/app", "v1", &two.ours);
    let pounce = two.pounce(&[]).await;
    for ns in [
        "quay.io",
        &elsewhere.addr.to_string(),
        "169.254.169.254",
        "localhost",
        "ghcr.io.example.com",
        "ghcr.io/org",
        "ghcr.io%00",
        "%0d%0a",
        "..",
    ] {
        for path in ["manifests/v1", "tags/list"] {
            let reply = pounce.get(&format!("/v2/org/app/{path}?ns={ns}")).await;
            assert_eq!((reply.status, &reply.code()[..]), (404, "NAME_UNKNOWN"), "{ns}");
        }
    }
    assert_eq!((elsewhere.requests(), two.default.requests(), two.ghcr.requests()), (0, 0, 0));
    // One upstream's host in front of another's names no repository.
    for path in ["ghcr.io/org/app/manifests/v1?ns=docker.io", "docker.io/ghcr.io/org/app/manifests/v1"] {
        let reply = pounce.get(&format!("/v2/{path}")).await;
        assert_eq!((reply.status, &reply.code()[..]), (404, "NAME_UNKNOWN"));
    }
}

#[tokio::test]
async fn the_default_upstream_goes_by_the_name_that_it_is_given() {
    let two = Two::new().await;
    let pounce = two.pounce(&[("REGISTRY_PROXY_HOST", "quay.io")]).await;
    let get = async |path: &str| pounce.get(path).await.status;
    assert_eq!(get("/v2/org/app/manifests/v1?ns=quay.io").await, 200);
    assert_eq!(get("/v2/quay.io/org/app/manifests/v1").await, 200);
    assert_eq!(get("/v2/org/app/manifests/v1?ns=docker.io").await, 404);
}

#[tokio::test]
async fn the_default_upstream_may_go_by_several_names() {
    let two = Two::new().await;
    let lists: [&[(&str, &str)]; 3] = [
        &[("REGISTRY_PROXY_HOST", "registry.internal:5000, quay.io")],
        &[("REGISTRY_PROXY_HOST", "[registry.internal:5000, quay.io]")],
        &[("REGISTRY_PROXY_HOST_0", "registry.internal:5000"), ("REGISTRY_PROXY_HOST_1", "quay.io")],
    ];
    for hosts in lists {
        let pounce = two.pounce(hosts).await;
        for path in [
            "/v2/org/app/manifests/v1?ns=quay.io",
            "/v2/org/app/manifests/v1?ns=registry.internal:5000",
            "/v2/registry.internal_5000/org/app/manifests/v1",
        ] {
            assert_eq!(pounce.get(path).await.body, two.ours.manifest, "{path}");
        }
        let reply = pounce.get("/v2/org/app/manifests/v1?ns=docker.io").await;
        assert_eq!(reply.status, 404);
    }
}

#[tokio::test]
async fn pounces_own_name_is_no_upstream() {
    let two = Two::new().await;
    let pounce = two.pounce(&[("REGISTRY_HTTP_HOST", "https://registry.example.com:8443")]).await;
    for ns in ["registry.example.com:8443", "registry.example.com"] {
        let reply = pounce.get(&format!("/v2/org/app/manifests/v1?ns={ns}")).await;
        assert_eq!(reply.body, two.ours.manifest, "{ns}");
    }
}

#[tokio::test]
async fn without_any_upstream_there_is_nothing_to_choose() {
    let pounce = Pounce::with(&[]).await;
    let reply = pounce.get("/v2/a/manifests/v1?ns=docker.io").await;
    assert_eq!((reply.status, &reply.code()[..]), (404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn further_upstreams_without_a_default_one() {
    let two = Two::new().await;
    let variables = [
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "registry.internal:5000"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &two.ghcr.url()[..]),
    ];
    let pounce = Pounce::with(&variables).await;
    // A repository's name has no colon.
    for path in
        ["/v2/registry.internal_5000/org/app/manifests/v1", "/v2/org/app/manifests/v1?ns=registry.internal:5000"]
    {
        assert_eq!(pounce.get(path).await.body, two.theirs.manifest);
    }
    let reply = pounce.get("/v2/org/app/manifests/v1").await;
    assert_eq!((reply.status, &reply.code()[..]), (404, "MANIFEST_UNKNOWN"));
    let reply = pounce.get("/v2/org/app/manifests/v1?ns=docker.io").await;
    assert_eq!((reply.status, &reply.code()[..]), (404, "NAME_UNKNOWN"));
}

#[tokio::test]
async fn each_upstream_has_its_own_credentials() {
    let two = Two::new().await;
    for upstream in [&two.default, &two.ghcr] {
        upstream.behave(Manners { auth: Auth::Bearer, ..Manners::default() });
    }
    let pounce = two
        .pounce(&[("REGISTRY_PROXY_UPSTREAMS_0_USERNAME", "user"), ("REGISTRY_PROXY_UPSTREAMS_0_PASSWORD", "secret")])
        .await;
    assert_eq!(pounce.get("/v2/ghcr.io/org/app/manifests/v1").await.status, 200);
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 404);
    let sent = |upstream: &Upstream| {
        let seen = upstream.seen();
        seen.iter().any(|seen| {
            let given = seen.headers.get("authorization");
            given.is_some_and(|value| value.to_str().unwrap().starts_with("Basic"))
        })
    };
    assert!(sent(&two.ghcr) && !sent(&two.default));
}

#[tokio::test]
async fn one_that_is_away_does_not_take_the_other_along() {
    let mut two = Two::new().await;
    two.ghcr.stop().await;
    let pounce = two.pounce(&[]).await;
    assert_eq!(pounce.get("/v2/ghcr.io/org/app/manifests/v1").await.status, 503);
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
}
