//! Upstreams that keep repositories under a prefix: projects, virtual repositories, pull-through rules.

use crate::mistakes::{Case, name_their_setting};
use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Auth, Image, Pounce, Upstream};

#[tokio::test]
async fn a_prefix_stands_before_every_name_and_in_every_scope() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("hub/cache/library/alpine", "v1", &image);
    for tag in ["v2", "v3", "v4"] {
        upstream.add("hub/cache/library/alpine", tag, &image);
    }
    upstream.behave(Manners { auth: Auth::Bearer, expires_in: 300, ..Manners::default() });
    for url in ["/v2/hub/cache", "/v2/hub/cache/"] {
        let url = format!("{}{url}", upstream.url());
        let pounce = Pounce::with(&[
            ("REGISTRY_PROXY_REMOTEURL", &url),
            ("REGISTRY_PROXY_USERNAME", "user"),
            ("REGISTRY_PROXY_PASSWORD", "secret"),
        ])
        .await;
        let path = "/v2/library/alpine";
        let got = pounce.get(&format!("{path}/manifests/v1")).await;
        assert_eq!(got.body, image.manifest);
        let layer = digest(image.layer());
        assert_eq!(pounce.pull("library/alpine", &layer).await, *image.layer());
        // The upstream's page links contain the prefix, too.
        let list = pounce.get(&format!("{path}/tags/list")).await;
        let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
        assert_eq!(list["tags"].as_array().unwrap().len(), 4, "{list}");
        assert_eq!(list["name"], "library/alpine");
        // pounce asks for the client's name under the prefix, and for no other name.
        assert_eq!(pounce.get("/v2/alpine/manifests/v1").await.status, 404, "no library/ is made up");
        assert!(pounce.objects().iter().all(|key| !key.contains("repositories/hub")),);
    }
    let paths: Vec<String> = upstream.seen().into_iter().map(|seen| seen.path).collect();
    let is_there = |path: &String| path.starts_with("/v2/hub/cache/");
    assert!(paths.iter().all(|path| path.starts_with("/token") || is_there(path)), "{paths:?}");
}

#[tokio::test]
async fn another_prefix_is_another_upstream() {
    let upstream = Upstream::start().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    upstream.add("one/a", "v1", &old);
    upstream.add("two/a", "v1", &new);
    let at = |prefix: &str| format!("{}/v2/{prefix}", upstream.url());
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &at("one"))]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, old.manifest, "the one");
    pounce.until_quiet().await;
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &at("two"))]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, new.manifest);
}

#[tokio::test]
async fn further_upstreams_have_prefixes_and_bases_of_their_own() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("ghcr/org/app", "v1", &image);
    let url = format!("{}/v2/ghcr", upstream.url());
    let pounce =
        Pounce::with(&[("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io"), ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &url)])
            .await;
    for path in ["/v2/ghcr.io/org/app/manifests/v1", "/v2/org/app/manifests/v1?ns=ghcr.io"] {
        assert_eq!(pounce.get(path).await.body, image.manifest, "{path}");
    }
    // Some operators write `/v2/` for a registry without a prefix.
    upstream.add("org/app", "v1", &image);
    let url = format!("{}/v2/", upstream.url());
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &url)]).await;
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
}

#[test]
fn nonsense_is_refused_at_start() {
    let cases: &[Case] = &[
        ("proxy: {remoteurl: 'https://h/v2/Hub'}", &[], "proxy.remoteurl"),
        ("proxy: {remoteurl: 'https://h/v2//hub'}", &[], "proxy.remoteurl"),
        ("proxy: {upstreams: [{host: ghcr.io, remoteurl: 'https://h/v2/a b'}]}", &[], "proxy.upstreams"),
        ("", &[("REGISTRY_PROXY_REMOTEURL", "https://h/v2/-")], "proxy.remoteurl"),
    ];
    name_their_setting(cases);
}
