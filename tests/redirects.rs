//! A blob's redirect target, and the embedded bucket's answers there.

use crate::storage::warm;
use crate::support::image::digest;
use crate::support::{Pounce, borrowed};

#[tokio::test]
async fn redirects_can_be_turned_off() {
    let (_upstream, pounce, image, path) = warm(&[("REGISTRY_STORAGE_REDIRECT_DISABLE", "true")]).await;
    let reply = pounce.get(&path).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, "300000"));
    assert!(reply.body == image.layer());
    let reply = pounce.range(&path, "bytes=5-9").await;
    assert_eq!((reply.status, &reply.body), (206, &image.layer().slice(5..10)));
    assert_eq!(reply.header("content-range"), "bytes 5-9/300000");
    assert_eq!(pounce.range(&path, "bytes=300000-").await.code(), "RANGE_INVALID");
}

/// RFC 9110, section 13.1.2, for a blob that pounce itself sends.
#[tokio::test]
async fn a_client_that_has_a_streamed_blob_gets_304() {
    let everywhere = ("REGISTRY_STORAGE_REDIRECT_DISABLE", "true");
    let here = ("REGISTRY_STORAGE_REDIRECT_EXCLUDE", "127.0.0.0/8");
    for streams in [everywhere, here] {
        let (_upstream, pounce, image, path) = warm(&[streams]).await;
        let etag = format!("\"{}\"", digest(image.layer()));
        let conditions = [
            (etag.clone(), true),
            (format!("W/{etag}"), true),
            (format!("\"x\", {etag}"), true),
            ("*".to_owned(), true),
            (etag.replace("sha256:", "sha256:0"), false),
            ("\"\"".to_owned(), false),
        ];
        for (condition, matches) in &conditions {
            for range in [None, Some("bytes=5-9"), Some("bytes=999999999-")] {
                let asked = |method| {
                    let request = pounce.request(method, &path);
                    let request = request.header("if-none-match", condition);
                    match range {
                        Some(range) => request.header("range", range),
                        None => request,
                    }
                };
                let reply = pounce.send(asked("GET")).await;
                let expected = match range {
                    _ if *matches => 304,
                    None => 200,
                    Some("bytes=5-9") => 206,
                    Some(_) => 416,
                };
                assert_eq!(reply.status, expected, "{condition} {range:?}");
                if *matches {
                    assert_eq!((reply.header("etag"), reply.body.len()), (&etag[..], 0));
                    assert!(!reply.headers.contains_key("content-length"));
                }
                let expected = if *matches { 304 } else { 200 };
                assert_eq!(pounce.send(asked("HEAD")).await.status, expected);
            }
        }
        // Two header lines form one list.
        let request = pounce.request("GET", &path).header("if-none-match", "\"x\"");
        let reply = pounce.send(request.header("if-none-match", &etag)).await;
        assert_eq!(reply.status, 304);
        // A missing blob does not match the client's copy.
        let request = pounce.request("GET", &path.replace("sha256:", "sha256:0")[..path.len()]);
        let reply = pounce.send(request.header("if-none-match", "*")).await;
        assert_eq!(reply.status, 404);
    }
}

#[tokio::test]
async fn a_condition_of_a_redirect_is_the_buckets() {
    let (_upstream, pounce, image, path) = warm(&[]).await;
    let etag = format!("\"{}\"", digest(image.layer()));
    let request = pounce.request("GET", &path).header("if-none-match", etag);
    assert_eq!(pounce.send(request).await.status, 307);
}

#[tokio::test]
async fn urls_are_made_for_the_host_that_the_client_called() {
    let (_upstream, pounce, image, path) = warm(&[]).await;
    let called = format!("localhost:{}", pounce.addr.port());
    let reply = pounce.send(pounce.request("GET", &path).header("host", &called)).await;
    let location = reply.header("location").to_owned();
    assert!(location.starts_with(&format!("http://{called}/pounce/")), "{location}");
    assert_eq!(pounce.follow(&reply).await.body, image.layer());
    let long = "h".repeat(1000);
    for odd in ["a b", "x/y", "u@h", "", &long] {
        let reply = raw_host(&pounce, &path, odd).await;
        assert!(reply.starts_with("HTTP/1.1 307") || reply.starts_with("HTTP/1.1 400"), "{odd}: {reply}");
        assert!(!reply.contains("u@h") && !reply.contains(&long), "{reply}");
    }
    // A host that a URL writes in another way.
    for (named, host) in [("LOCALHOST:5000", "localhost:5000"), ("localhost:80", "localhost")] {
        for _ in 0..2 {
            let reply = pounce.send(pounce.request("GET", &path).header("host", named)).await;
            let location = reply.header("location");
            assert!(location.starts_with(&format!("http://{host}/pounce/")), "{named}: {location}");
        }
    }
}

async fn raw_host(pounce: &Pounce, path: &str, host: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(pounce.addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn http_host_decides_where_it_is_set() {
    let (_upstream, pounce, _, path) = warm(&[("REGISTRY_HTTP_HOST", "https://registry.example.com")]).await;
    let reply = pounce.get(&path).await;
    assert!(reply.header("location").starts_with("https://registry.example.com/pounce/"));
}

#[tokio::test]
async fn the_embedded_bucket_refuses_whoever_has_no_signature() {
    let (_upstream, pounce, image, path) = warm(&[]).await;
    let signed = pounce.get(&path).await.header("location").to_owned();
    let (plain, query) = signed.split_once('?').unwrap();
    let forged = query.replace("X-Amz-Signature=", "X-Amz-Signature=0");
    let expired = query.replace("X-Amz-Expires=1200", "X-Amz-Expires=604800");
    let elsewhere = plain.replace("/data", "/date");
    let other = [
        ("GET", plain.to_owned()),
        ("GET", format!("{plain}?{forged}")),
        ("GET", format!("{plain}?{expired}")),
        ("GET", format!("{elsewhere}?{query}")),
        ("PUT", signed.clone()),
        ("DELETE", signed.clone()),
        ("GET", pounce.url("/pounce/.pounce/credentials.json")),
        ("GET", pounce.url("/pounce/?list-type=2")),
        ("GET", pounce.url("/pounce/..%2f..%2fetc/passwd")),
    ];
    let client = reqwest::Client::new();
    for (method, url) in other {
        let reply = pounce.send(client.request(method.parse().unwrap(), &url)).await;
        assert!((400..500).contains(&reply.status), "{method} {url}: {reply:?}");
    }
    assert_eq!(pounce.get(&path).await.status, 307);
    assert!(pounce.send(client.get(signed)).await.body == image.layer());
}

#[tokio::test]
async fn the_embedded_bucket_takes_no_forms() {
    let pounce = Pounce::with(&[]).await;
    let pieces = vec![crate::support::image::noise(1, 1 << 20); 40];
    let form = "multipart/form-data; boundary=x";
    for path in ["/pounce/", "/pounce"] {
        let request = pounce.request("POST", path).header("content-type", form);
        let body = crate::support::requests::streamed(pieces.clone());
        let reply = pounce.send(request.body(body)).await;
        assert!([0, 501].contains(&reply.status), "{reply:?}");
    }
}

#[tokio::test]
async fn a_redirect_endpoint_stands_in_for_the_buckets_own() {
    let (_upstream, bucket, _, path) = warm(&[]).await;
    let s3 = bucket.as_s3();
    let mut variables = borrowed(&s3);
    variables.push(("REGISTRY_STORAGE_S3_REDIRECTENDPOINT", "https://blobs.example.com"));
    let pounce = Pounce::with(&variables).await;
    let reply = pounce.get(&path).await;
    assert!(reply.header("location").starts_with("https://blobs.example.com/pounce/docker/"), "{reply:?}");
}

/// As S3 does, and distribution: some clients refuse a blob without a type.
#[tokio::test]
async fn the_bucket_tells_the_type_of_pushed_and_of_filled_blobs() {
    let (_upstream, pounce, image, path) = warm(&[]).await;
    let pushed = pounce.push("pushed", image.layer().slice(1..)).await;
    for path in [path, format!("/v2/pushed/blobs/{pushed}")] {
        let url = pounce.get(&path).await.header("location").to_owned();
        let blob = reqwest::get(&url).await.unwrap();
        assert_eq!(blob.status(), 200);
        assert_eq!(blob.headers()["content-type"], "application/octet-stream", "{path}");
    }
}

/// As S3 does: 416 for a range outside the blob, and the whole for an invalid range or several; never a 400.
#[tokio::test]
async fn odd_ranges_get_what_s3_gives() {
    let (_upstream, pounce, image, path) = warm(&[]).await;
    let layer = image.layer();
    let url = pounce.get(&path).await.header("location").to_owned();
    let client = reqwest::Client::new();
    let ask = |ranges: &[&str]| {
        let mut request = client.get(&url);
        for range in ranges {
            request = request.header("range", *range);
        }
        async move {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let field = |name| {
                let value = answer.headers().get(name);
                value.map(|value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned())
            };
            let (part, named) = (field("content-range"), field("docker-content-digest"));
            (status, part, named, answer.bytes().await.unwrap())
        }
    };
    let named = Some(digest(layer));
    for whole in [
        "bytes=5-2",
        "bytes=abc",
        "bytes=",
        "bytes=-",
        "bytes=1",
        "bytes=a-b",
        "bytes=--5",
        "bytes=0-1,5-6",
        "bytes=0-0,-1",
        "bytes= 0-1",
        "bytes 0-1",
        "items=0-1",
        "0-1",
        "",
    ] {
        let (status, part, digest, body) = ask(&[whole]).await;
        assert_eq!((status, part, &digest), (200, None, &named), "{whole}");
        assert!(body == layer, "{whole}");
    }
    let (status, part, _, body) = ask(&["bytes=0-1", "bytes=2-3"]).await;
    assert_eq!((status, part), (200, None));
    assert!(body == layer);
    for nothing in ["bytes=-0", "bytes=300000-", "bytes=300000-300001", "bytes=999999999999-"] {
        let (status, _, digest, _) = ask(&[nothing]).await;
        assert_eq!((status, digest), (416, None), "{nothing}");
    }
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=-1", 299_999, 300_000),
        ("bytes=-999999", 0, 300_000),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=10-999999", 10, 300_000),
    ] {
        let (status, part, digest, body) = ask(&[range]).await;
        let expected = format!("bytes {start}-{}/300000", end - 1);
        assert_eq!((status, part, &digest), (206, Some(expected), &named));
        assert!(body == layer.slice(start..end), "{range}");
    }
    for huge in ["bytes=0-99999999999999999999", "bytes=-99999999999999999999"] {
        let (status, ..) = ask(&[huge]).await;
        assert!([200, 206].contains(&status), "{huge}: {status}");
    }
}

/// The bucket's other objects have no digest in their names, and refusals carry none.
#[tokio::test]
async fn only_a_blob_that_is_served_has_a_digest() {
    let (_upstream, pounce, _, path) = warm(&[]).await;
    let url = pounce.get(&path).await.header("location").to_owned();
    let refused = reqwest::get(url.replace("Signature=", "Signature=0")).await;
    let refused = refused.unwrap();
    assert!(refused.status().is_client_error(), "{refused:?}");
    assert!(!refused.headers().contains_key("docker-content-digest"));
}
