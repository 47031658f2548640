//! Upstreams that redirect manifests and blobs to another host: a storage host, or a registry under another name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json as object;

use crate::support::image::digest;
use crate::support::scripted::{by_digest, json, manifest, refusal, text};
use crate::support::{Image, Pounce, Said, Scripted};

/// A registry with `proj/app:v1`, which may demand a token from its own token server.
async fn target(image: &Image, wants_token: bool) -> Scripted {
    let image = image.clone();
    Scripted::start(move |seen| {
        let image = image.clone();
        async move {
            let path = seen.path.clone();
            let host = seen.headers["host"].to_str().unwrap().to_owned();
            if path.starts_with("/token") {
                return json(200, &object!({"token": "theirs", "expires_in": 300}));
            }
            let given = seen.headers.get("authorization");
            if wants_token && given.is_none_or(|given| given != "Bearer theirs") {
                let (status, _, body) = refusal(401, "UNAUTHORIZED");
                let challenge =
                    format!("Bearer realm=\"http://{host}/token\",service=\"b\",scope=\"repository:proj/app:pull\"");
                return (status, vec![("www-authenticate", challenge)], body);
            }
            if path == "/v2/proj/app/manifests/v1" {
                return manifest(&image);
            }
            let found = by_digest(&image, &path).filter(|_| path.starts_with("/v2/proj/app/"));
            found.unwrap_or_else(|| refusal(404, "MANIFEST_UNKNOWN"))
        }
    })
    .await
}

/// A host that redirects `proj/` to `target`, and demands a password.
async fn front(target: &Scripted, status: u16) -> Scripted {
    let url = target.url();
    Scripted::start(move |seen| {
        let location = format!("{url}{}", seen.path.replacen("/v2/", "/v2/proj/", 1));
        async move {
            if !seen.headers.contains_key("authorization") {
                let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
                return (401, challenge, "".into());
            }
            (status, vec![("location", location)], "".into())
        }
    })
    .await
}

async fn before(front: &Scripted) -> Pounce {
    Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &front.url()),
        ("REGISTRY_PROXY_USERNAME", "user"),
        ("REGISTRY_PROXY_PASSWORD", "secret"),
        ("REGISTRY_PROXY_TAGTTL", "0"),
    ])
    .await
}

#[tokio::test]
async fn a_registry_behind_another_ones_name_answers_for_it() {
    let image = Image::new(1, &[1000]);
    for (status, wants_token) in [(301, false), (302, true), (303, false), (307, true), (308, true)] {
        let target = target(&image, wants_token).await;
        let front = front(&target, status).await;
        let pounce = before(&front).await;
        for _ in 0..2 {
            let got = pounce.get("/v2/app/manifests/v1").await;
            assert_eq!(got.body, image.manifest, "{status}: {got:?}");
            pounce.until_quiet().await;
        }
        let layer = digest(image.layer());
        assert_eq!(pounce.pull("app", &layer).await, *image.layer());
        for (path, code) in [
            ("manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
            (format!("manifests/{}", digest(b"nothing")), "MANIFEST_UNKNOWN"),
            (format!("blobs/{}", digest(b"nothing")), "BLOB_UNKNOWN"),
            ("tags/list".to_owned(), "NAME_UNKNOWN"),
        ] {
            let reply = pounce.get(&format!("/v2/app/{path}")).await;
            if path == "tags/list" {
                assert_eq!(reply.status, 200, "the stored ones");
            } else {
                assert_eq!((reply.status, &reply.code()[..]), (404, code), "{path}");
            }
        }
        // pounce fetches the target's token once, and sends it nothing of the first host's.
        assert_eq!(target.count("GET", "/token"), usize::from(wants_token));
        for seen in target.seen() {
            let given = seen.headers.get("authorization");
            assert!(given.is_none_or(|it| it == "Bearer theirs"), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn what_a_storage_says_is_not_the_registrys_word() {
    let image = Image::new(1, &[1000]);
    let found = Arc::new(AtomicBool::new(false));
    let storage = {
        let (found, image) = (Arc::clone(&found), image.clone());
        Scripted::start(move |seen| {
            let (found, image) = (Arc::clone(&found), image.clone());
            async move {
                let blob = by_digest(&image, &seen.path);
                match blob.filter(|_| found.load(Ordering::SeqCst)) {
                    Some(blob) if seen.method == "GET" => blob,
                    // The URL is signed for GET only.
                    Some(_) => text(403, "application/xml", "<Error/>"),
                    None => text(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
                }
            }
        })
        .await
    };
    let url = storage.url();
    let registry = Scripted::start(move |seen| {
        let location = vec![("location", format!("{url}/store{}", seen.path))];
        async move { (307, location, "".into()) }
    })
    .await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &registry.url())]).await;
    let layer = format!("/v2/app/blobs/{}", digest(image.layer()));
    for method in ["GET", "HEAD"] {
        let reply = pounce.send(pounce.request(method, &layer)).await;
        assert_eq!(reply.status, 503, "{method}");
    }
    found.store(true, Ordering::SeqCst);
    let head = pounce.head(&layer).await;
    assert_eq!((head.status, head.header("content-length")), (200, "1000"));
    assert_eq!(pounce.get(&layer).await.body, image.layer());
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    let to = |location: &'static str| {
        Scripted::start(move |seen| {
            let own = seen.path.clone();
            let location = location.replace("SELF", &own);
            async move { (302, vec![("location", location)], "".into()) }
        })
    };
    for location in ["SELF", "", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "data:,x"] {
        let upstream = to(location).await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        let reply = pounce.get("/v2/app/manifests/v1").await;
        assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"));
        assert!(upstream.seen().len() <= 6, "{location}");
    }
}

#[tokio::test]
async fn an_upstream_does_not_choose_as_whom_pounce_appears() {
    let image = Image::new(1, &[10]);
    let registry = target(&image, false).await;
    let away = format!("http://root:toor@{}", registry.addr);
    let back = Arc::new(std::sync::Mutex::new(String::new()));
    // From the upstream to another host and back again: pounce sends no credentials on the way back.
    let other = {
        let back = Arc::clone(&back);
        Scripted::start(move |_| {
            let location = format!("{}/again", back.lock().unwrap());
            async move { (307, vec![("location", location)], "".into()) }
        })
        .await
    };
    let elsewhere = other.url();
    let upstream = Scripted::start(move |seen| {
        let (away, elsewhere) = (away.clone(), elsewhere.clone());
        async move {
            let location = match &seen.path[..] {
                "/v2/app/manifests/v1" => format!("{away}/v2/proj/app/manifests/v1"),
                "/again" => return text(404, "text/plain", "nothing"),
                _ if seen.headers.contains_key("authorization") => elsewhere,
                _ => return challenge(),
            };
            (307, vec![("location", location)], "".into())
        }
    })
    .await;
    *back.lock().unwrap() = upstream.url();
    let pounce = before(&upstream).await;
    assert_eq!(pounce.get("/v2/app/manifests/v1").await.status, 200);
    assert_eq!(pounce.get("/v2/app/manifests/v2").await.status, 503);
    let seen = [registry.seen(), other.seen()].concat();
    assert!(seen.iter().all(|it| !it.headers.contains_key("authorization")));
    let again = upstream.seen();
    let mut again = again.iter().filter(|it| it.path == "/again").peekable();
    assert!(again.peek().is_some());
    assert!(again.all(|it| !it.headers.contains_key("authorization")));
}

fn challenge() -> Said {
    let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
    (401, challenge, "".into())
}
