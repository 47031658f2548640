//! Paged lists: where the next page is, in every form of a `Link`.

use serde_json::json as object;

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::scripted::{json, refusal};
use crate::support::{Pounce, Reply, Said, Scripted};

/// An upstream with three pages of tags, the first two with these `Link`s. `HOST` stands for its own address.
async fn paged(links: &'static [&'static str]) -> Scripted {
    Scripted::start(move |seen| async move {
        let host = seen.headers["host"].to_str().unwrap().to_owned();
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        if path != "/v2/a/b/tags/list" {
            return refusal(404, "UNSUPPORTED");
        }
        let page = match query {
            _ if query.contains("last=one") => 2,
            _ if query.contains("last=two") => 3,
            _ => 1,
        };
        let (tag, next) = [("one", "one"), ("two", "two"), ("three", "")][page - 1];
        let (status, mut headers, body) = json(200, &object!({"name": "a/b", "tags": [tag]}));
        if !next.is_empty() {
            let filled = |link: &&str| {
                let link = link.replace("HOST", &host).replace("NEXT", next);
                ("link", link)
            };
            headers.extend(links.iter().map(filled));
        }
        (status, headers, body)
    })
    .await
}

async fn list(links: &'static [&'static str]) -> Reply {
    let upstream = paged(links).await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    pounce.get("/v2/a/b/tags/list").await
}

#[tokio::test]
async fn every_form_of_a_link_leads_to_the_next_page() {
    let forms: [&[&str]; 14] = [
        &["<?last=NEXT>; rel='next'"],
        &["<?last=NEXT>; title='x'; rel='prev next'"],
        &["</v2/a/b/tags/list?last=NEXT&n=1>; rel=\"next\""],
        &["</v2/a/b/tags/list?n=1&last=NEXT>;rel=next"],
        &["<?last=NEXT>; REL=\"Next\""],
        &["<list?last=NEXT>; rel=\"prev next\""],
        &["<http://HOST/v2/a/b/tags/list?last=NEXT>; rel=next"],
        &["<//HOST/v2/a/b/tags/list?last=NEXT>; rel=next"],
        // Behind a proxy that terminates TLS, or that listens on another port.
        &["<https://127.0.0.1/v2/a/b/tags/list?last=NEXT>; rel=next"],
        &["<http://127.0.0.1:5000/v2/a/b/tags/list?last=NEXT>; rel=next"],
        &["</v2/a/b/tags/list?last=zero>; rel=\"prev\", <?last=NEXT>; rel=\"next\""],
        &["</v2/x>; rel=\"prev\"", "<?last=NEXT>; rel=\"next\""],
        &["<?last=NEXT>; title=\"a, b>; rel=prev\"; type=\"x\" ; rel = \"next\""],
        &["<?last=NEXT>"],
    ];
    for links in forms {
        let reply = list(links).await;
        assert_eq!(reply.status, 200, "{links:?}: {reply:?}");
        let listed: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(listed["tags"], object!(["one", "three", "two"]), "{links:?}");
    }
}

#[tokio::test]
async fn links_in_a_circle_end() {
    let upstream = Scripted::start(|seen| async move {
        let page = if seen.path.contains("page=2") { 2 } else { 1 };
        let tags = object!({"tags": [format!("t{page}")]});
        let (status, mut headers, body) = json(200, &tags);
        headers.push(("link", format!("<?page={}>; rel=next", 3 - page)));
        (status, headers, body)
    })
    .await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let reply = pounce.get("/v2/a/b/tags/list").await;
    let listed: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(listed["tags"], object!(["t1", "t2"]));
    assert!(upstream.seen().len() <= 3);
}

#[tokio::test]
async fn a_list_that_goes_on_elsewhere_is_not_cut_short_in_silence() {
    let forms: [&[&str]; 4] = [
        &["<http://127.0.0.2/v2/a/b/tags/list?last=NEXT>; rel=\"next\""],
        &["<//evil.example.com/?last=NEXT>; rel=\"next\""],
        &["/v2/a/b/tags/list?last=NEXT; rel=\"next\""],
        &["<mailto:next>; rel=\"next\""],
    ];
    for links in forms {
        let reply = list(links).await;
        assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"), "{links:?}");
    }
}

#[tokio::test]
async fn referrers_come_in_pages_too() {
    let entry =
        |n: usize| object!({"mediaType": OCI_MANIFEST, "digest": digest(&[1, u8::try_from(n).unwrap()]), "size": 1});
    let upstream = Scripted::start(move |seen| async move {
        let page: usize = seen.path.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
        let index = object!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(page)]});
        let mut headers = vec![("content-type", OCI_INDEX.to_owned())];
        if page < 20 {
            headers.push(("link", "</x>; rel=prev".to_owned()));
            headers.push(("link", format!("<?page={}>; rel=\"last next\"", page + 1)));
        }
        let said: Said = (200, headers, index.to_string().into());
        said
    })
    .await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let reply = pounce.get(&format!("/v2/a/b/referrers/{}", digest(b"subject"))).await;
    let listed: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 21, "{listed}");
}

#[tokio::test]
async fn a_list_that_breaks_off_is_no_missing_repository() {
    for status in [401, 403, 404, 410] {
        let upstream = Scripted::start(move |seen| async move {
            if !seen.path.contains("last=") {
                let (status, mut headers, body) = json(200, &object!({"tags": ["one"]}));
                headers.push(("link", "<?last=one>; rel=next".to_owned()));
                return (status, headers, body);
            }
            refusal(status, "NAME_UNKNOWN")
        })
        .await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        let reply = pounce.get("/v2/a/b/tags/list").await;
        assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"), "{status}");
    }
}

/// An upstream that knows the tags of `proj/pause` alone, in two pages.
async fn pause(link: &'static str) -> Scripted {
    Scripted::start(move |seen| async move {
        let host = seen.headers["host"].to_str().unwrap().to_owned();
        if !seen.path.starts_with("/v2/proj/pause/tags/list") {
            return refusal(404, "NAME_UNKNOWN");
        }
        if seen.path.contains("last=a") {
            return json(200, &object!({"tags": ["b"]}));
        }
        let (status, mut headers, body) = json(200, &object!({"tags": ["a"]}));
        headers.push(("link", link.replace("HOST", &host)));
        (status, headers, body)
    })
    .await
}

#[tokio::test]
async fn a_list_below_a_prefix_goes_on_there() {
    for link in [
        "</v2/pause/tags/list?last=a>; rel=\"next\"",
        "<http://HOST/v2/pause/tags/list?last=a>; rel=\"next\"",
        "</v2/proj/pause/tags/list?last=a>; rel=\"next\"",
    ] {
        let upstream = pause(link).await;
        let url = format!("{}/v2/proj", upstream.url());
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &url)]).await;
        let reply = pounce.get("/v2/pause/tags/list").await;
        let listed: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(listed["tags"], object!(["a", "b"]), "{link}");
    }
}

#[tokio::test]
async fn a_list_behind_a_redirect_goes_on_there() {
    for (link, expected) in [
        ("<?last=a>; rel=\"next\"", 200),
        ("</v2/proj/pause/tags/list?last=a>; rel=\"next\"", 200),
        ("<http://HOST/v2/proj/pause/tags/list?last=a>; rel=\"next\"", 200),
        ("</v2/pause/tags/list?last=a>; rel=\"next\"", 200),
        ("<http://127.0.0.3/v2/proj/pause/tags/list?last=a>; rel=\"next\"", 503),
    ] {
        let upstream = pause(link).await;
        // Another host name of the same machine.
        let there = upstream.url().replace("127.0.0.1", "localhost");
        let front = Scripted::start(move |seen| {
            let location = format!("{there}{}", seen.path.replacen("/v2/", "/v2/proj/", 1));
            async move { (307, vec![("location", location)], "".into()) }
        })
        .await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &front.url())]).await;
        let reply = pounce.get("/v2/pause/tags/list").await;
        assert_eq!(reply.status, expected, "{link}: {reply:?}");
        if expected == 200 {
            let listed: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(listed["tags"], object!(["a", "b"]), "{link}");
        }
    }
}
