//! The tests' own S3 has the rules that its documentation claims, and pounce works over it.

use std::time::Duration;

use bytes::Bytes;

use crate::support::image::{digest, noise};
use crate::support::{FakeS3, Image, Pounce, Rule, borrowed};

/// A request that the store accepts as signed.
fn ask(s3: &FakeS3, method: &str, path: &str) -> reqwest::RequestBuilder {
    let url = format!("http://{}/bucket/{path}", s3.addr);
    let client = reqwest::Client::new();
    let request = client.request(method.parse().unwrap(), url);
    request.header("authorization", "AWS4-HMAC-SHA256 x")
}

async fn said(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_over_it() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let image = Image::new(1, &[100, 33 << 20]);
    pounce.push_image("me/app", "v1", &image).await;
    let location = pounce.begin("me/app").await;
    let blob = noise(5, 40 << 20);
    let reply = pounce.patch(&location, blob.clone()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let location = reply.header("location").to_owned();
    let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
    assert_eq!(reply.status, 201, "{reply:?}");

    let manifest = pounce.get("/v2/me/app/manifests/v1").await;
    assert_eq!(manifest.body, image.manifest);
    for blob in image.blobs.iter().chain([&blob]) {
        assert_eq!(&pounce.pull("me/app", &digest(blob)).await, blob);
    }
    let calls = s3.take();
    for operation in ["PutObject", "UploadPartCopy", "CompleteMultipartUpload"] {
        assert!(calls.contains_key(operation), "{operation}: {calls:?}");
    }
    assert_eq!(s3.open_uploads(), [""; 0]);
    assert!(!s3.keys().iter().any(|key| key.contains("_uploads")));
}

#[tokio::test]
async fn its_conditions_ranges_and_listings_are_those_of_s3() {
    let s3 = FakeS3::start(&[]).await;
    for key in ["a/1", "a/b/2", "a/b/3", "a/c"] {
        let put = ask(&s3, "PUT", key).body("0123456789");
        assert_eq!(said(put).await.0, 200);
    }
    let put = |name, value| ask(&s3, "PUT", "a/c").header(name, value).body("x");
    assert_eq!(said(put("if-none-match", "*")).await.0, 412);
    assert_eq!(said(put("if-match", "\"other\"")).await.0, 412);
    let get = |range| said(ask(&s3, "GET", "a/c").header("range", range));
    assert_eq!(get("bytes=2-3").await, (206, "23".into()));
    assert_eq!(get("bytes=-2").await, (206, "89".into()));
    assert_eq!(get("bytes=5-2").await, (200, "0123456789".into()));
    assert_eq!(get("bytes=10-").await.0, 416);

    let list = |query: &str| said(ask(&s3, "GET", &format!("?list-type=2&{query}")));
    let (_, listed) = list("prefix=a/&delimiter=/").await;
    assert!(listed.contains("<Prefix>a/b/</Prefix>"), "{listed}");
    assert!(listed.contains("<Key>a/c</Key>") && !listed.contains("a/b/2"));
    let (_, page) = list("prefix=a/&max-keys=2").await;
    assert!(page.contains("<IsTruncated>true</IsTruncated>"), "{page}");
    let (_, rest) = list("prefix=a/&continuation-token=a/b/2").await;
    assert!(rest.contains("a/b/3") && !rest.contains("a/b/2"), "{rest}");
}

#[tokio::test]
async fn each_rule_is_kept() {
    let s3 = FakeS3::start(&[]).await;
    s3.put("a", "bytes");
    s3.rules(&[Rule::NeedsContentLength]);
    let bare =
        format!("POST /bucket/b?uploads HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4\r\n{}\r\n", "Connection: close\r\n");
    let reply = crate::support::wire::exchange(s3.addr, bare.as_bytes()).await;
    assert!(reply.contains("411") && reply.contains("MissingContentLength"), "{reply}");

    s3.rules(&[Rule::IgnoresConditions]);
    let put = ask(&s3, "PUT", "a").header("if-none-match", "*");
    assert_eq!(said(put.body("other")).await.0, 200);
    s3.rules(&[Rule::NoDelimiter]);
    assert_eq!(said(ask(&s3, "GET", "?list-type=2&delimiter=/")).await.0, 501);
    s3.rules(&[Rule::RefusesAuthorization]);
    let url = "a?X-Amz-Signature=x&X-Amz-Date=20260101T000000Z&X-Amz-Expires=1";
    assert_eq!(said(ask(&s3, "GET", url)).await.0, 400);
    s3.rules(&[]);
    assert_eq!(said(ask(&s3, "GET", url)).await.0, 403);
    s3.rules(&[Rule::FullDisk(507)]);
    assert_eq!(said(ask(&s3, "PUT", "a").body("x")).await.0, 507);
    s3.rules(&[Rule::Clock(3600)]);
    let dated = ask(&s3, "GET", "a").header("x-amz-date", "20200101T000000Z");
    assert_eq!(said(dated).await.0, 403);

    s3.rules(&[Rule::Lags(Duration::from_mins(1))]);
    let leader = |method, path| ask(&s3, method, path).header("x-tigris-consistent", "true");
    assert_eq!(said(leader("PUT", "new").body("x")).await.0, 200);
    assert_eq!(said(ask(&s3, "GET", "new")).await.0, 404);
    assert_eq!(said(leader("GET", "new")).await, (200, "x".into()));
    assert_eq!(said(leader("DELETE", "a")).await.0, 204);
    assert_eq!(said(ask(&s3, "GET", "a")).await, (200, "other".into()));
    assert_eq!(said(leader("GET", "a")).await.0, 404);

    s3.rules(&[Rule::Freezes]);
    assert_eq!(said(ask(&s3, "PUT", "cold").body("x")).await.0, 200);
    let (status, text) = said(ask(&s3, "GET", "cold")).await;
    assert!(status == 403 && text.contains("InvalidObjectState"), "{text}");
    let head = ask(&s3, "HEAD", "cold").send().await.unwrap();
    assert_eq!(head.headers()["x-amz-storage-class"], "GLACIER");
}
