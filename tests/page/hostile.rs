//! Names, annotations and manifests that want more than to be shown.

use serde_json::json;

use super::{document, put, view};
use crate::support::image::{OCI_INDEX, OCI_MANIFEST};
use crate::support::{FakeS3, Image, Pounce, borrowed};

const MARKUP: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&";

#[tokio::test]
async fn markup_in_annotations_and_labels_is_text() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a", "plain", &image).await;
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["annotations"] = json!({
        MARKUP: MARKUP,
        "rtl": "\u{202e}gnp.exe\u{2066}",
        "org.opencontainers.image.url": "javascript:alert(3)",
        "org.opencontainers.image.documentation": "https://example.org/\"onmouseover=alert(4)",
        "long": "x".repeat(100_000),
    });
    manifest["artifactType"] = MARKUP.into();
    put(&pounce, "a", "v1", OCI_MANIFEST, &manifest.to_string()).await;
    let shown = document(&pounce, "/-/repositories/a/-/v1").await;
    assert!(!shown.contains("<script>alert") && !shown.contains("<img"), "{shown}");
    assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
    assert!(shown.contains("<bdi>\u{202e}gnp.exe\u{2066}</bdi>"), "{shown}");
    assert!(!shown.contains("href=\"javascript") && !shown.contains("\"onmouseover"), "{shown}");
    assert!(!shown.contains(&"x".repeat(2001)) && shown.len() < 50_000, "{}", shown.len());
    let search = format!("/?q={}", url::form_urlencoded::byte_serialize(MARKUP.as_bytes()).collect::<String>());
    let found = document(&pounce, &search).await;
    assert!(!found.contains("<script>") && !found.contains("<img"), "{found}");
    let login = document(&pounce, "/-/login?next=%22%3E%3Cscript%3E").await;
    assert!(!login.contains("<script>"), "{login}");
}

#[tokio::test]
async fn names_as_long_as_they_may_be_are_shown() {
    let pounce = Pounce::with(&[]).await;
    let name = format!("{}/b", "a".repeat(253));
    let tag = "t".repeat(128);
    pounce.push_image(&name, &tag, &Image::new(1, &[10])).await;
    assert!(document(&pounce, "/").await.contains(&format!("/-/repositories/{name}\"")));
    assert!(document(&pounce, &format!("/-/repositories/{name}")).await.contains(&tag));
    document(&pounce, &format!("/-/repositories/{name}/-/{tag}")).await;
    assert_eq!(view(&pounce, &format!("/-/repositories/{name}c")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_garbage_in_the_bucket_is_told_where_it_stands() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    pounce.push_image("a", "good", &Image::new(1, &[10])).await;
    let root = "docker/registry/v2";
    let manifest = |tag: &str, bytes: &str| {
        let digest = crate::support::image::digest(bytes.as_bytes());
        let hex = digest.strip_prefix("sha256:").unwrap();
        s3.put(&format!("{root}/blobs/sha256/{}/{hex}/data", &hex[..2]), bytes.to_owned());
        s3.put(&format!("{root}/repositories/a/_manifests/revisions/sha256/{hex}/link"), digest.clone());
        s3.put(&format!("{root}/repositories/a/_manifests/tags/{tag}/current/link"), digest);
    };
    manifest("not-json", "\0\u{1}garbage");
    manifest("array", "[1,2,3]");
    manifest("empty", "{}");
    manifest("index", &json!({"mediaType": OCI_INDEX, "manifests": [{"digest": "x"}, 7, null]}).to_string());
    let child = json!({"mediaType": OCI_MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "size": u64::MAX,
        "platform": {"os": MARKUP, "architecture": ""}});
    manifest("children", &json!({"mediaType": OCI_INDEX, "manifests": vec![child; 500]}).to_string());
    let layer = json!({"mediaType": "a/b", "digest": format!("sha256:{}", "1".repeat(64)), "size": u64::MAX});
    let layers = json!({"mediaType": OCI_MANIFEST, "config": layer, "layers": vec![layer.clone(); 5000],
        "annotations": ["x"]});
    manifest("layers", &layers.to_string());
    s3.put(&format!("{root}/repositories/a/_manifests/tags/no-digest/current/link"), "not a digest");
    s3.put(&format!("{root}/repositories/a/_manifests/tags/no-link/index/x"), "");
    // What is in another repository only is not this one's.
    let other = Image::new(7, &[10]);
    pounce.push_image("other", "v1", &other).await;
    s3.put(&format!("{root}/repositories/a/_manifests/tags/foreign/current/link"), other.digest());
    let tags = document(&pounce, "/-/repositories/a").await;
    for tag in ["good", "not-json", "array", "empty", "index", "children", "layers", "no-digest", "no-link", "foreign"]
    {
        assert!(tags.contains(&format!("/-/{tag}\"")), "{tag}: {tags}");
        let reply = view(&pounce, &format!("/-/repositories/a/-/{tag}")).await;
        let is_there = ["good", "array", "empty", "index", "children", "layers"].contains(&tag);
        assert!(reply.status == if is_there { 200 } else { 404 } || tag == "array", "{tag}: {reply:?}");
        assert!(reply.body.len() < 300_000, "{tag}: {}", reply.body.len());
    }
    assert!(tags.contains("its link does not hold a digest") && tags.contains("it is not stored here"), "{tags}");
    let children = document(&pounce, "/-/repositories/a/-/children").await;
    assert!(children.contains("And 400 more") && !children.contains("<script>"), "{children}");
    assert!(document(&pounce, "/-/repositories/a/-/layers").await.contains("And 4,800 more layers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_another_repository_is_not_shown() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("secret", "v1", &image).await;
    let (digest, root) = (image.digest(), "docker/registry/v2/repositories/open/_manifests");
    let hex = digest.strip_prefix("sha256:").unwrap();
    s3.put(&format!("{root}/revisions/sha256/{hex}/link"), digest.clone());
    s3.put(&format!("{root}/tags/v1/current/link"), digest.clone());
    let shown = document(&pounce, "/-/repositories/open/-/v1").await;
    assert!(shown.contains("it is not stored here") && !shown.contains("linux/amd64"), "{shown}");
    assert!(document(&pounce, "/-/repositories/secret/-/v1").await.contains("linux/amd64"));
}
