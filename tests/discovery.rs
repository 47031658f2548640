//! Listing tags (spec, "Content Discovery"): end-8a and end-8b; and distribution's catalog.

use serde_json::Value;

use crate::support::image::OCI_MANIFEST;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

fn tags(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["name"], "a/b");
    body["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag.as_str().unwrap().to_owned())
        .collect()
}

async fn listed() -> (Upstream, Pounce) {
    let upstream = Upstream::start().await;
    upstream.add("a/b", "v1", &Image::new(1, &[10]));
    for tag in ["v2", "B", "a", "v10", "not a tag", "_"] {
        upstream.add_manifest("a/b", tag, OCI_MANIFEST, "{}");
    }
    let pounce = Pounce::before(&upstream).await;
    (upstream, pounce)
}

#[tokio::test]
async fn end_8a_lists_all_tags_in_ascii_order() {
    let (_upstream, pounce) = listed().await;
    let reply = pounce.get("/v2/a/b/tags/list").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(tags(&reply.body), ["B", "_", "a", "v1", "v10", "v2"]);
    assert!(!reply.headers.contains_key("link"));
}

#[tokio::test]
async fn end_8b_pages_follow_their_links() {
    let (_upstream, pounce) = listed().await;
    let (mut path, mut all) = ("/v2/a/b/tags/list?n=4".to_owned(), Vec::new());
    loop {
        let reply = pounce.get(&path).await;
        all.extend(tags(&reply.body));
        let Some(link) = reply.header("link").strip_prefix('<') else {
            break;
        };
        let (next, relation) = link.split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        path = next.to_owned();
    }
    assert_eq!(all, ["B", "_", "a", "v1", "v10", "v2"]);
    let reply = pounce.get("/v2/a/b/tags/list?n=0").await;
    assert_eq!((tags(&reply.body).len(), reply.header("link")), (0, ""));
    assert_eq!(
        tags(&pounce.get("/v2/a/b/tags/list?last=v1").await.body),
        ["v10", "v2"]
    );
    assert_eq!(
        tags(&pounce.get("/v2/a/b/tags/list?n=1&last=nothing").await.body),
        ["v1"]
    );
}

#[tokio::test]
async fn stored_tags_are_listed_without_the_upstream() {
    let (upstream, pounce) = listed().await;
    pounce.get("/v2/a/b/manifests/v1").await;
    pounce.get("/v2/a/b/manifests/v2").await;
    pounce
        .until("both tags are stored", |it| {
            it.objects()
                .iter()
                .filter(|key| key.ends_with("current/link"))
                .count()
                == 2
        })
        .await;
    upstream.behave(Manners {
        status: Some(503),
        ..Manners::default()
    });
    assert_eq!(
        tags(&pounce.get("/v2/a/b/tags/list").await.body),
        ["v1", "v2"]
    );
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_404() {
    let (_upstream, pounce) = listed().await;
    let reply = pounce.get("/v2/no/body/tags/list").await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "NAME_UNKNOWN"));
}

#[tokio::test]
async fn the_catalog_lists_repositories_in_ascii_order() {
    let pounce = Pounce::with(&[]).await;
    let empty = pounce.get("/v2/_catalog").await;
    assert_eq!(&empty.body[..], br#"{"repositories":[]}"#);
    let names = ["a", "a-b", "a/0", "a/b", "a/b/c", "b"];
    for name in names {
        pounce.push_image(name, "v1", &Image::new(1, &[10])).await;
    }
    // Blobs alone do not make a repository, nor does an upload.
    pounce.push("c", "x".into()).await;
    pounce.patch(&pounce.begin("d").await, "x".into()).await;
    let (mut path, mut all, mut pages) = ("/v2/_catalog?n=4".to_owned(), Vec::new(), 0);
    loop {
        let reply = pounce.get(&path).await;
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let page: Vec<String> = serde_json::from_value(body["repositories"].clone()).unwrap();
        all.extend(page);
        pages += 1;
        let Some(link) = reply.header("link").strip_prefix('<') else {
            break;
        };
        link.split_once('>').unwrap().0.clone_into(&mut path);
    }
    assert_eq!((pages, all), (2, names.map(str::to_owned).to_vec()));
    let reply = pounce.get("/v2/_catalog?n=0").await;
    assert_eq!(
        (&reply.body[..], reply.header("link")),
        (&br#"{"repositories":[]}"#[..], "")
    );
    let reply = pounce.get("/v2/_catalog?last=a/b").await;
    assert_eq!(&reply.body[..], br#"{"repositories":["a/b/c","b"]}"#);
}

#[tokio::test]
async fn a_tag_that_is_pushed_is_listed_at_once() {
    let (_upstream, pounce) = listed().await;
    let before = tags(&pounce.get("/v2/a/b/tags/list").await.body);
    pounce.push_image("a/b", "Z", &Image::new(9, &[10])).await;
    let after = tags(&pounce.get("/v2/a/b/tags/list").await.body);
    assert_eq!((before.len() + 1, after[1].as_str()), (after.len(), "Z"));
}
