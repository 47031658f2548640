//! Answers to malformed and hopeless requests (spec, "Error Codes"): a code, a sentence, and no request upstream.

use crate::support::image::noise;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Sends a raw request line, because clients normalize paths.
async fn raw(pounce: &Pounce, request: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(pounce.addr).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", pounce.addr);
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    (reply.split(' ').nth(1).unwrap().parse().unwrap(), reply)
}

#[tokio::test]
async fn malformed_requests_get_their_code_and_reach_nobody() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let long = "a".repeat(300);
    let cases = [
        (format!("GET /v2/{long}/manifests/v1"), 400, "NAME_INVALID"),
        ("GET /v2/../../etc/manifests/passwd".into(), 400, "NAME_INVALID"),
        ("GET /v2/a/..%2f..%2fb/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET /v2/a%252Fb/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET /v2/UPPER/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET /v2/a//b/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET /v2/a%00b/manifests/v1".into(), 400, "NAME_INVALID"),
        // end-3 has one error, 404, so an invalid reference is not found.
        ("GET /v2/a/manifests/%2e%2e".into(), 404, "MANIFEST_UNKNOWN"),
        (format!("GET /v2/a/manifests/{long}"), 404, "MANIFEST_UNKNOWN"),
        ("GET /v2/a/manifests/v%201".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET /v2/a/manifests/sha256:beef".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET /v2/a/manifests/sha256:".into(), 404, "MANIFEST_UNKNOWN"),
        (format!("GET /v2/a/manifests/{}", DIGEST.to_uppercase()), 404, "MANIFEST_UNKNOWN"),
        (format!("GET /v2/a/manifests/{}", DIGEST.replace("sha256", "md5")), 404, "MANIFEST_UNKNOWN"),
        // end-7 and end-9: a write to an invalid reference is refused with a reason.
        (format!("PUT /v2/a/manifests/{long}"), 400, "TAG_INVALID"),
        ("PUT /v2/a/manifests/sha256:beef".into(), 400, "DIGEST_INVALID"),
        ("DELETE /v2/a/manifests/sha256:beef".into(), 400, "DIGEST_INVALID"),
        ("DELETE /v2/a/manifests/v%201".into(), 400, "TAG_INVALID"),
        ("DELETE /v2/a/blobs/sha256:beef".into(), 400, "DIGEST_INVALID"),
        ("GET /v2/a/blobs/latest".into(), 400, "DIGEST_INVALID"),
        (format!("GET /v2/a/blobs/{}", DIGEST.to_uppercase()), 400, "DIGEST_INVALID"),
        (format!("GET /v2/a/blobs/{}", DIGEST.replace("sha256", "sha512")), 400, "DIGEST_INVALID"),
        ("GET /v2/a/tags/list?n=many".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET /v2/a/tags/list?n=-1".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET /v2/a/nothing/here".into(), 404, "NAME_UNKNOWN"),
        ("GET /v2/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET /v3/".into(), 404, "NAME_UNKNOWN"),
        ("GET /v2/_catalog?n=-1".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET /v2/_catalog?n=1.5".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET /v2/_catalog/x".into(), 404, "NAME_UNKNOWN"),
        ("POST /v2/A/blobs/uploads/".into(), 400, "NAME_INVALID"),
        ("POST /v2/a/blobs/uploads/?digest=sha256:1".into(), 400, "DIGEST_INVALID"),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=md5".into(), 400, "DIGEST_INVALID"),
        ("PATCH /v2/a/blobs/uploads/1?_state=x".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT /v2/a/manifests/.".into(), 400, "TAG_INVALID"),
        ("PUT /v2/a/manifests/x?tag=-".into(), 400, "TAG_INVALID"),
        ("PUT /v2/a/manifests/x".into(), 400, "MANIFEST_INVALID"),
        ("GET /v2/a/referrers/latest".into(), 400, "DIGEST_INVALID"),
    ];
    for (request, status, code) in cases {
        let (got, reply) = raw(&pounce, &request).await;
        assert_eq!(got, status, "{request}: {reply}");
        assert!(reply.contains(&format!("\"code\":\"{code}\"")) && reply.contains("\"message\""), "{request}: {reply}");
        assert!(reply.contains("content-type: application/json"), "{reply}");
    }
    assert_eq!(upstream.requests(), 0);
}

/// Spec, "Checking if content exists in the registry": "If the blob or manifest is not found in the repository, the
/// response code MUST be `404 Not Found`."
#[tokio::test]
async fn a_head_by_no_reference_is_404() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    for reference in ["sha256:beef", "md5:beef", "v%201", &"a".repeat(129)] {
        let reply = pounce.head(&format!("/v2/a/manifests/{reference}")).await;
        assert_eq!((reply.status, reply.body.len()), (404, 0), "{reference}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn methods_that_do_not_exist_are_405_with_allow() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let upload = "/v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000";
    for (path, allowed) in [
        ("/v2/", "GET, HEAD, OPTIONS"),
        ("/v2/_catalog", "GET, HEAD, OPTIONS"),
        ("/v2/a/tags/list", "GET, HEAD, OPTIONS"),
        (&format!("/v2/a/referrers/{DIGEST}"), "GET, HEAD, OPTIONS"),
        (&format!("/v2/a/blobs/{DIGEST}"), "GET, HEAD, DELETE, OPTIONS"),
        ("/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v2/a/blobs/uploads/", "POST, OPTIONS"),
        (upload, "GET, HEAD, PATCH, PUT, DELETE, OPTIONS"),
    ] {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROBNICATE"];
        let reply = pounce.send(pounce.request("OPTIONS", path)).await;
        assert_eq!((reply.status, reply.header("allow")), (200, allowed));
        let allows = |method: &&str| !allowed.split(", ").any(|it| it == *method);
        for method in methods.into_iter().filter(allows) {
            let reply = pounce.send(pounce.request(method, path)).await;
            assert_eq!((reply.status, reply.header("allow")), (405, allowed), "{method} {path}");
            assert_eq!(reply.code(), "UNSUPPORTED");
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn ranges_that_lie_outside_are_416() {
    let upstream = Upstream::start().await;
    let image = Image::new(2, &[1000]);
    upstream.add("a", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    let path = format!("/v2/a/blobs/{}", crate::support::image::digest(image.layer()));
    for range in ["bytes=abc", "bytes=9-3", "bytes="] {
        let reply = pounce.range(&path, range).await;
        assert_eq!((reply.status, reply.code().as_str()), (416, "RANGE_INVALID"), "{range}");
    }
    assert_eq!(upstream.requests(), 0, "a malformed range needs no upstream");
    let reply = pounce.range(&path, "bytes=1000-").await;
    assert_eq!((reply.status, reply.code().as_str()), (416, "RANGE_INVALID"));
    assert_eq!(reply.header("content-range"), "bytes */1000");
    // Another unit: the whole blob.
    let reply = pounce.range(&path, "lines=1-2").await;
    assert!([200, 307].contains(&reply.status), "{reply:?}");
}

#[tokio::test]
async fn a_manifest_over_4_mib_is_refused() {
    let upstream = Upstream::start().await;
    let padding = const_hex::encode(noise(1, (4 << 20) / 2));
    upstream.add_manifest(
        "a",
        "large",
        "application/vnd.oci.image.manifest.v1+json",
        format!("{{\"x\":\"{padding}\"}}"),
    );
    upstream.add_manifest("a", "html", "text/html", "<html>sign in</html>");
    let pounce = Pounce::before(&upstream).await;
    for tag in ["large", "html"] {
        let reply = pounce.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{tag}");
    }
    assert_eq!(pounce.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_upstream_does_not_have_is_404_and_remembered() {
    let upstream = Upstream::start().await;
    upstream.add("a", "v1", &Image::new(3, &[1]));
    let pounce = Pounce::before(&upstream).await;
    for path in ["/v2/a/manifests/v2", "/v2/nobody/manifests/v1", &format!("/v2/a/manifests/{DIGEST}")] {
        upstream.forget();
        for _ in 0..3 {
            let reply = pounce.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"));
        }
        assert_eq!(upstream.requests(), 1, "{path}");
    }
    let reply = pounce.get(&format!("/v2/a/blobs/{DIGEST}")).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UNKNOWN"));
    let head = pounce.head(&format!("/v2/a/blobs/{DIGEST}")).await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(head.header("content-length"), reply.body.len().to_string());
}

#[tokio::test]
async fn an_upstream_in_trouble_is_never_a_404() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let paths = ["/v2/a/manifests/v1", &format!("/v2/a/blobs/{DIGEST}"), "/v2/a/tags/list"];
    for status in [500, 502, 503, 504] {
        upstream.behave(Manners { status: Some(status), ..Manners::default() });
        for path in paths {
            let reply = pounce.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{status} {path}");
        }
    }
    upstream.behave(Manners { status: Some(429), retry_after: Some("17".into()), ..Manners::default() });
    upstream.forget();
    for path in paths {
        let reply = pounce.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (429, "TOOMANYREQUESTS"), "{path}");
        assert_eq!(reply.header("retry-after"), "17");
    }
    assert_eq!(upstream.requests(), paths.len(), "one who asks for patience is not asked again");
}
