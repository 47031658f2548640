//! A 404 that does not come from a registry must not make pounce believe that content is gone.

use std::sync::{Arc, Mutex};

use crate::support::image::{digest, noise};
use crate::support::scripted::{by_digest, manifest, refusal, text};
use crate::support::{Image, Pounce, Process, Said, Scripted};

type Answers = Arc<Mutex<Option<(Said, Said)>>>;

/// An upstream with `a:v1`, which later gives these answers to `/v2/` and to all other paths.
async fn changing(image: &Image) -> (Scripted, Answers) {
    let answers = Answers::default();
    let (image, shared) = (image.clone(), Arc::clone(&answers));
    let upstream = Scripted::start(move |seen| {
        let (image, answers) = (image.clone(), shared.lock().unwrap().clone());
        async move {
            match answers {
                Some((greeting, _)) if seen.path == "/v2/" => greeting,
                Some((_, other)) => other,
                None if seen.path.ends_with("/manifests/v1") => manifest(&image),
                None => by_digest(&image, &seen.path).unwrap_or(refusal(404, "MANIFEST_UNKNOWN")),
            }
        }
    })
    .await;
    (upstream, answers)
}

async fn with_tag(upstream: &Scripted) -> Pounce {
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    pounce.until_quiet().await;
    pounce
}

fn registry() -> Said {
    let version = ("docker-distribution-api-version", "registry/2.0".to_owned());
    (200, vec![version], "{}".into())
}

#[tokio::test]
async fn a_404_that_is_no_registrys_hides_nothing() {
    let nothing = || (404, vec![], "".into());
    let with_header = |body: &'static str| {
        let version = ("docker-distribution-api-version", "registry/2.0".to_owned());
        let html = ("content-type", "text/html".to_owned());
        (404, vec![version, html], body.into())
    };
    let cases = [
        // An ingress without a backend, a web site, a bucket, an API of another kind.
        (text(404, "text/plain", "x"), text(404, "text/plain", "default backend - 404")),
        (text(200, "text/html", "<html>"), text(404, "text/html; charset=utf-8", "<html>\x1b[31mlost</html>")),
        (
            text(403, "application/xml", "<Error/>"),
            text(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
        ),
        (text(404, "application/json", "{}"), text(404, "application/json", "{\"message\":\"no Route matched\"}")),
        (text(404, "application/json", "{}"), text(404, "application/json", "{\"errors\":[{\"status\":404}]}")),
        (nothing(), nothing()),
        (registry(), with_header("<html>nginx</html>")),
        (registry(), text(404, "text/html", "")),
        (text(200, "application/json", "{}"), nothing()),
        (nothing(), text(410, "text/plain", "gone")),
    ];
    for (greeting, other) in cases {
        let image = Image::new(1, &[10]);
        let (upstream, answers) = changing(&image).await;
        let pounce = with_tag(&upstream).await;
        *answers.lock().unwrap() = Some((greeting, other.clone()));
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.status, &reply.body), (200, &image.manifest), "{other:?}");
        assert!(reply.header("warning").starts_with("110 "), "{other:?}");
        // Content that is not stored may be reported missing, but pounce does not cache this answer.
        for _ in 0..2 {
            let reply = pounce.get("/v2/a/manifests/v2").await;
            assert_eq!((reply.status, &reply.code()[..]), (404, "MANIFEST_UNKNOWN"));
        }
        assert_eq!(upstream.count("GET", "/v2/a/manifests/v2"), 2);
        let blob = format!("/v2/a/blobs/{}", digest(image.layer()));
        assert_eq!(pounce.get(&blob).await.status, 404);
    }
}

#[tokio::test]
async fn a_registry_is_believed_that_something_is_gone() {
    let named = |body: &'static str| {
        let (_, headers, _) = registry();
        (404, headers, body.into())
    };
    let challenge = || {
        let (_, mut headers, _) = registry();
        headers.push(("www-authenticate", "Basic realm=\"x\"".to_owned()));
        (401, headers, "".into())
    };
    let cases = [
        (text(404, "text/plain", ""), refusal(404, "MANIFEST_UNKNOWN")),
        (text(404, "text/plain", ""), refusal(404, "NOT_FOUND")),
        (text(404, "text/plain", ""), named("")),
        (text(404, "text/plain", ""), named("404 page not found")),
        (registry(), text(404, "text/plain", "manifest unknown")),
        (challenge(), (404, vec![], "".into())),
    ];
    for (greeting, other) in cases {
        let image = Image::new(1, &[10]);
        let (upstream, answers) = changing(&image).await;
        let pounce = with_tag(&upstream).await;
        *answers.lock().unwrap() = Some((greeting, other.clone()));
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!(reply.status, 404, "{other:?}");
        assert_eq!(reply.code(), "MANIFEST_UNKNOWN");
        for _ in 0..2 {
            assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 404);
        }
        assert_eq!(upstream.count("GET", "/v2/a/manifests/v2"), 1);
        assert!(upstream.count("GET", "/v2/") <= 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answered_is_in_the_log() {
    let (upstream, answers) = changing(&Image::new(1, &[10])).await;
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]);
    let get = || reqwest::get(process.url("/v2/a/manifests/v1"));
    assert_eq!(get().await.unwrap().status(), 200);
    process.until_quiet().await;
    let page = "<html>\x1b[31m\r\nlost</html>";
    let said = text(404, "text/html", page);
    *answers.lock().unwrap() = Some((said.clone(), said));
    assert_eq!(get().await.unwrap().status(), 200);
    let line = process.until("serving the stored tag");
    assert!(line.contains("404 Not Found, text/html: <html> [31m lost</html>"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_upstream_is_greeted_at_start() {
    let version = || vec![("docker-distribution-api-version", "registry/2.0".to_owned())];
    let fine = Scripted::start(move |_| async move { (200, version(), "{}".into()) }).await;
    let lost = Scripted::start(|_| async { text(404, "text/html", "<html>lost") }).await;
    let site = Scripted::start(|_| async { text(200, "text/html", "<html>welcome") }).await;
    let closed = Scripted::start(|_| async {
        let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
        (401, challenge, "".into())
    })
    .await;
    let mut process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &format!("{}/v2/hub", fine.url())),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "lost.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &lost.url()),
        ("REGISTRY_PROXY_UPSTREAMS_1_HOST", "site.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_1_REMOTEURL", &site.url()),
        ("REGISTRY_PROXY_UPSTREAMS_2_HOST", "closed.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_2_REMOTEURL", &closed.url()),
        ("REGISTRY_PROXY_UPSTREAMS_3_HOST", "away.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_3_REMOTEURL", "http://127.0.0.1:9"),
    ]);
    let mut lines: Vec<String> = (0..4).map(|_| process.until("an upstream cannot be used")).collect();
    lines.sort();
    let line = |url: &str| {
        let mut found = lines.iter().filter(|line| line.contains(url));
        found.next().unwrap_or_else(|| panic!("{url}: {lines:?}"))
    };
    assert!(line(&lost.url()).contains("404 Not Found, text/html: <html>lost"));
    assert!(line(&site.url()).contains("a web page"));
    assert!(line(&closed.url()).contains("it wants credentials"));
    assert!(line("http://127.0.0.1:9").contains("check remoteurl"));
    // pounce asks for `/v2/` of the host, although the setting has a prefix.
    let paths: Vec<String> = fine.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v2/"]);
}

#[tokio::test]
async fn json_that_is_no_manifest_is_not_taken_for_one() {
    for body in ["{}", "{\"message\":\"maintenance\"}", "{\"errors\":[{\"code\":\"UNAVAILABLE\"}]}"] {
        let image = Image::new(1, &[10]);
        let (upstream, answers) = changing(&image).await;
        let pounce = with_tag(&upstream).await;
        let page = || text(200, "application/json", body);
        *answers.lock().unwrap() = Some((page(), page()));
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.status, &reply.body), (200, &image.manifest), "{body}");
        assert!(reply.headers.contains_key("warning"), "{body}");
        // And for a tag that is not stored, the client gets an error.
        let cold = pounce.get("/v2/a/manifests/v2").await;
        assert_eq!(cold.status, 503, "{body}");
    }
}

#[tokio::test]
async fn a_page_for_everything_makes_no_blob_a_repositorys() {
    let blob = noise(1, 5000);
    let digest = digest(&blob);
    for kind in ["text/html", "application/json"] {
        let (blob, path) = (blob.clone(), format!("/v2/pub/blobs/{digest}"));
        let upstream = Scripted::start(move |seen| {
            let (blob, path) = (blob.clone(), path.clone());
            async move { if seen.path == path { (200, vec![], blob) } else { text(200, kind, "{\"sign\":\"in\"}") } }
        })
        .await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        assert_eq!(pounce.get(&format!("/v2/pub/blobs/{digest}")).await.status, 200);
        pounce.until_stored(&digest).await;
        let other = format!("/v2/other/blobs/{digest}");
        assert_eq!(pounce.get(&other).await.status, 503, "{kind}");
        assert_eq!(pounce.head(&other).await.status, 503, "{kind}");
    }
}

#[tokio::test]
async fn a_page_that_comes_in_front_of_a_registry_is_noticed_soon() {
    let image = Image::new(1, &[10]);
    let (upstream, answers) = changing(&image).await;
    let pounce = with_tag(&upstream).await;
    let missing = text(404, "text/plain", "manifest unknown");
    *answers.lock().unwrap() = Some((registry(), missing));
    assert_eq!(pounce.get("/v2/a/manifests/v2").await.status, 404);
    let ingress = || text(404, "text/plain", "default backend - 404");
    *answers.lock().unwrap() = Some((ingress(), ingress()));
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    let reply = pounce.get("/v2/a/manifests/v1").await;
    assert_eq!((reply.status, &reply.body), (200, &image.manifest));
    assert!(reply.header("warning").starts_with("110 "));
}

#[tokio::test]
async fn a_registry_behind_a_redirect_is_believed_by_its_name() {
    let version = || ("docker-distribution-api-version", "registry/2.0".to_owned());
    for (headers, body, expected) in [
        (vec![version()], "404 page not found", 404),
        (vec![version()], "", 404),
        (vec![version()], "<html>", 503),
        (vec![], "", 503),
    ] {
        let target = Scripted::start(move |_| {
            let headers = headers.clone();
            async move { (404, headers, body.into()) }
        })
        .await;
        let there = target.url();
        let front = Scripted::start(move |seen| {
            let location = format!("{there}{}", seen.path);
            async move { (307, vec![("location", location)], "".into()) }
        })
        .await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &front.url())]).await;
        let reply = pounce.get("/v2/a/manifests/v1").await;
        assert_eq!(reply.status, expected, "{body}: {reply:?}");
    }
}
