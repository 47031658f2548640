//! Registry UIs in a browser, and probes: requests without credentials (the Fetch standard; distribution's `GET /`).

use reqwest::header::HeaderMap;

use crate::support::image::digest;
use crate::support::users::{by, push, user};
use crate::support::wire::exchange;
use crate::support::{Image, Pounce, Reply, Upstream};

const UI: &str = "https://ui.example.com";
const CORS: (&str, &str) = (
    "REGISTRY_HTTP_HEADERS",
    "{Access-Control-Allow-Origin: ['https://ui.example.com'], Access-Control-Allow-Credentials: ['true'], \
     Access-Control-Allow-Methods: [HEAD, GET, OPTIONS, DELETE]}",
);

async fn preflight(pounce: &Pounce, path: &str) -> Reply {
    let request = pounce.request("OPTIONS", path).header("origin", UI);
    let request = request.header("access-control-request-method", "DELETE");
    let wanted = "authorization,accept";
    pounce.send(request.header("access-control-request-headers", wanted)).await
}

fn has_cors(headers: &HeaderMap) -> bool {
    let values = |name| headers.get_all(name).iter().count();
    headers["access-control-allow-origin"] == UI
        && values("access-control-allow-origin") == 1
        && headers["access-control-allow-credentials"] == "true"
        && values("access-control-allow-methods") == 4
}

/// A registry with users, CORS headers and this prefix.
async fn for_browsers(prefix: &str) -> Pounce {
    let users = [user("alice")].join(",");
    let users = ("REGISTRY_AUTH_HTPASSWD_USERS", users.as_str());
    Pounce::with(&[CORS, users, ("REGISTRY_HTTP_PREFIX", prefix)]).await
}

#[tokio::test]
async fn a_preflight_needs_no_login_and_tells_nothing() {
    let pounce = for_browsers("").await;
    let (blob, manifest) = push(&pounce, "alice", "me/app", 1).await;
    let upload = "blobs/uploads/00000000-0000-0000-0000-000000000000";
    let there = [
        ("/v2/".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/_catalog?n=5".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/token".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/me/app/tags/list".to_owned(), "GET, HEAD, OPTIONS"),
        (format!("/v2/me/app/manifests/{manifest}"), "GET, HEAD, PUT, DELETE, OPTIONS"),
        (format!("/v2/me/app/blobs/{blob}"), "GET, HEAD, DELETE, OPTIONS"),
        (format!("/v2/me/app/referrers/{manifest}"), "GET, HEAD, OPTIONS"),
        ("/v2/me/app/blobs/uploads/".to_owned(), "POST, OPTIONS"),
        (format!("/v2/me/app/{upload}"), "GET, HEAD, PATCH, PUT, DELETE, OPTIONS"),
        // The preflight succeeds; the request itself gets the error.
        ("/v2/me/app".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/ME/app/manifests/v%00".to_owned(), "GET, HEAD, PUT, DELETE, OPTIONS"),
    ];
    for (path, allowed) in &there {
        let reply = preflight(&pounce, path).await;
        assert_eq!((reply.status, reply.header("allow"), reply.body.len()), (200, *allowed, 0), "{path}");
        assert!(has_cors(&reply.headers), "{path}: {reply:?}");
        assert!(!reply.headers.contains_key("www-authenticate"));
        // A missing path gets the same headers, except for the request's own id.
        let absent = path.replace("me/app", "no/body").replace("sha256:", "sha256:0");
        let mut other = preflight(&pounce, &absent).await.headers;
        let mut reply = reply.headers;
        for headers in [&mut other, &mut reply] {
            headers.remove("x-request-id");
            headers.remove("date");
        }
        assert_eq!(other, reply, "{absent}");
    }
    let reply = preflight(&pounce, "/other").await;
    assert_eq!(reply.status, 404);
    assert!(has_cors(&reply.headers));
}

#[tokio::test]
async fn a_preflight_asks_no_upstream() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    for path in ["/v2/a/manifests/v1", "/v2/a/tags/list?ns=ghcr.io"] {
        assert_eq!(preflight(&pounce, path).await.status, 200);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn answers_and_refusals_have_the_headers_that_a_browser_wants() {
    let pounce = for_browsers("").await;
    let (blob, _) = push(&pounce, "alice", "me/app", 1).await;
    let path = format!("/v2/me/app/blobs/{blob}");
    let redirect = pounce.send(by("alice", pounce.request("GET", &path))).await;
    let missing = pounce.request("GET", "/v2/me/app/manifests/v2");
    let replies = [
        (401, pounce.get("/v2/").await),
        (404, pounce.send(by("alice", missing)).await),
        (404, pounce.get("/v3/").await),
        (400, pounce.get("/v2/ME/tags/list").await),
        (405, pounce.send(pounce.request("PUT", "/v2/")).await),
    ];
    for (status, reply) in &replies {
        assert_eq!(reply.status, *status);
        assert!(has_cors(&reply.headers), "{reply:?}");
    }
    // To a browser, each hop of a blob's pull is a request of its own, with a preflight before it.
    assert!(has_cors(&redirect.headers), "{redirect:?}");
    let location = redirect.header("location");
    let bucket = &location[location.find("/pounce/").unwrap()..];
    let reply = preflight(&pounce, bucket).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(has_cors(&reply.headers), "{reply:?}");
    let absent = preflight(&pounce, "/pounce/no/such/key").await;
    assert_eq!(absent.header("allow"), reply.header("allow"));
    // The redirect stays at one origin, so that the browser sends the password along.
    let reply = pounce.send(by("alice", pounce.request("GET", bucket))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(has_cors(&reply.headers), "{reply:?}");
    assert_eq!(digest(&reply.body), blob);
}

#[tokio::test]
async fn the_root_is_200_for_probes() {
    for prefix in ["", "/registry", "/a/b/"] {
        let pounce = for_browsers(prefix).await;
        let prefix = prefix.trim_end_matches('/');
        let behind = format!("{prefix}/");
        for path in ["/", prefix, &behind] {
            let (get, head) = (pounce.get(path).await, pounce.head(path).await);
            assert_eq!((get.status, head.status), (200, 200), "{path:?}");
            assert!(head.body.is_empty() && has_cors(&get.headers), "{get:?}");
            assert!(get.body.strip_suffix(b"\n").is_some_and(|line| !line.contains(&b'\n')), "{get:?}");
            assert_eq!(preflight(&pounce, path).await.status, 200);
            let posted = pounce.send(pounce.request("POST", path)).await;
            assert_eq!((posted.status, posted.code().as_str()), (405, "UNSUPPORTED"));
        }
        let path = format!("{prefix}/v2/me/app/manifests/v1");
        let reply = preflight(&pounce, &path).await;
        assert_eq!(reply.status, 200, "{prefix}");
        assert!(reply.header("allow").contains("DELETE"));
        assert_eq!(pounce.get(&format!("{prefix}/x")).await.status, 404);
        let request = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let reply = exchange(pounce.addr, request).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

#[tokio::test]
async fn a_browser_can_pull_without_users() {
    let pounce = Pounce::with(&[CORS]).await;
    pounce.push_image("a", "v1", &Image::new(3, &[10])).await;
    let reply = pounce.get("/v2/a/manifests/v1").await;
    assert_eq!(reply.status, 200);
    // The answer from memory has it, too.
    let again = pounce.get("/v2/a/manifests/v1").await;
    assert!(has_cors(&reply.headers) && has_cors(&again.headers));
}
