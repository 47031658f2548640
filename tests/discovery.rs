//! Listing tags (spec, "Content Discovery"): end-8a and end-8b; and distribution's catalog.

use serde_json::Value;

use crate::support::image::OCI_MANIFEST;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

fn tags(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["name"], "a/b");
    body["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
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
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
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
    assert_eq!(tags(&pounce.get("/v2/a/b/tags/list?last=v1").await.body), ["v10", "v2"]);
    assert_eq!(tags(&pounce.get("/v2/a/b/tags/list?n=1&last=nothing").await.body), ["v1"]);
}

#[tokio::test]
async fn stored_tags_are_listed_without_the_upstream() {
    let (upstream, pounce) = listed().await;
    pounce.get("/v2/a/b/manifests/v1").await;
    pounce.get("/v2/a/b/manifests/v2").await;
    pounce
        .until("both tags are stored", |it| {
            it.objects().iter().filter(|key| key.ends_with("current/link")).count() == 2
        })
        .await;
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    assert_eq!(tags(&pounce.get("/v2/a/b/tags/list").await.body), ["v1", "v2"]);
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
    // A repository needs a manifest: blobs and uploads alone do not make one.
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
    assert_eq!((&reply.body[..], reply.header("link")), (&br#"{"repositories":[]}"#[..], ""));
    let reply = pounce.get("/v2/_catalog?last=a/b").await;
    assert_eq!(&reply.body[..], br#"{"repositories":["a/b/c","b"]}"#);
}

/// All pages from this path on, by following their links.
async fn pages(pounce: &Pounce, path: &str, list: &str) -> Vec<Vec<String>> {
    let (mut path, mut pages) = (path.to_owned(), Vec::new());
    loop {
        let reply = pounce.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        pages.push(serde_json::from_value(body[list].clone()).unwrap());
        let Some(link) = reply.header("link").strip_prefix('<') else {
            return pages;
        };
        link.split_once('>').unwrap().0.clone_into(&mut path);
    }
}

/// A page's size is an upper bound: a client that asks for more is not refused (spec, "Listing Tags": "The response to
/// such a request MAY return fewer than `<int>` results, but only when [...] a `Link` header is provided").
#[tokio::test]
async fn a_page_is_never_longer_than_configured() {
    let limits = [("REGISTRY_CATALOG_MAXENTRIES", "2"), ("REGISTRY_TAGS_MAXTAGS", "3")];
    let pounce = Pounce::with(&limits).await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        pounce.push_image(name, "v1", &Image::new(1, &[10])).await;
    }
    for tag in names {
        pounce.push_image("a", tag, &Image::new(1, &[10])).await;
    }
    let queries = ["", "?n=", "?n=2", "?n=1001", "?n=18446744073709551616", "?n=002"];
    for query in queries {
        let found = pages(&pounce, &format!("/v2/_catalog{query}"), "repositories").await;
        assert_eq!((found.len(), found.concat()), (3, names.map(str::to_owned).to_vec()), "{query}");
    }
    for query in ["", "?n=", "?n=3", "?n=4", "?n=99999999999999999999999"] {
        let found = pages(&pounce, &format!("/v2/a/tags/list{query}"), "tags").await;
        assert_eq!((found.len(), found.concat().len()), (2, 6), "{query}");
    }
    assert_eq!(pages(&pounce, "/v2/a/tags/list?n=2", "tags").await.len(), 3);
    // "When `n` is zero, this endpoint MUST return an empty list, and MUST NOT include a `Link` header."
    for query in ["?n=0", "?n=00"] {
        for (path, list) in [("_catalog", "repositories"), ("a/tags/list", "tags")] {
            let found = pages(&pounce, &format!("/v2/{path}{query}"), list).await;
            assert_eq!(found, [Vec::<String>::new()]);
        }
    }
    for n in ["-1", "x", "1.5", "0x10", "%20", "1%20", "1,2"] {
        for path in ["_catalog", "a/tags/list"] {
            let reply = pounce.get(&format!("/v2/{path}?n={n}")).await;
            let got = (reply.status, reply.code());
            assert_eq!(got, (400, "PAGINATION_NUMBER_INVALID".to_owned()), "{path} {n}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_is_pushed_is_listed_at_once() {
    let (_upstream, pounce) = listed().await;
    let before = tags(&pounce.get("/v2/a/b/tags/list").await.body);
    pounce.push_image("a/b", "Z", &Image::new(9, &[10])).await;
    let after = tags(&pounce.get("/v2/a/b/tags/list").await.body);
    assert_eq!((before.len() + 1, after[1].as_str()), (after.len(), "Z"));
}
