//! Manifests with a wrongly declared type, and those of schema 1.

use std::sync::Arc;

use serde_json::json as object;

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::scripted::refusal;
use crate::support::{Image, Pounce, Said, Scripted};

#[tokio::test]
async fn a_manifest_says_what_it_is_where_the_upstream_does_not() {
    let image = Image::new(1, &[10]);
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let bodies = [
        (image.manifest.to_vec(), OCI_MANIFEST),
        (object!({"schemaVersion": 2, "manifests": []}).to_string().into_bytes(), OCI_INDEX),
        (object!({"schemaVersion": 2, "mediaType": docker, "layers": []}).to_string().into_bytes(), docker),
    ];
    for declared in ["", "text/plain; charset=utf-8", "application/octet-stream", "image/png"] {
        for (body, expected) in &bodies {
            let body = body.clone();
            let upstream = Scripted::start(move |_| {
                let mut headers = Vec::new();
                if !declared.is_empty() {
                    headers.push(("content-type", declared.to_owned()));
                }
                let said: Said = (200, headers, body.clone().into());
                async move { said }
            })
            .await;
            let pounce =
                Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0")]).await;
            // From the upstream, by a tag and by a digest, and from the bucket.
            let by_tag = pounce.get("/v2/a/manifests/v1").await;
            assert_eq!(by_tag.header("content-type"), *expected, "{declared}");
            pounce.until_quiet().await;
            let named = by_tag.header("docker-content-digest").to_owned();
            assert_eq!(named, digest(&by_tag.body));
            let pounce = pounce.restart(&[]).await;
            for reference in ["v1", &named] {
                let path = format!("/v2/a/manifests/{reference}");
                for method in ["GET", "HEAD"] {
                    let reply = pounce.send(pounce.request(method, &path)).await;
                    assert_eq!(reply.status, 200, "{declared}");
                    assert_eq!(reply.header("content-type"), *expected, "{declared}");
                }
            }
        }
    }
}

#[tokio::test]
async fn schema_1_by_digest_is_refused_by_its_name() {
    let signed = object!({"schemaVersion": 1, "name": "a", "tag": "v1", "fsLayers": [], "history": [],
        "signatures": [{"header": {"alg": "ES256"}, "signature": "x", "protected": "y"}]});
    let payload = digest(b"the payload without its signatures");
    let (body, named) = (Arc::new(signed.to_string()), payload.clone());
    let upstream = Scripted::start(move |seen| {
        let (body, named) = (Arc::clone(&body), named.clone());
        async move {
            if !seen.path.ends_with("/v1") && !seen.path.ends_with(&named) {
                return refusal(404, "MANIFEST_UNKNOWN");
            }
            let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            let headers = vec![("content-type", media_type.to_owned()), ("docker-content-digest", named)];
            (200, headers, body.to_string().into())
        }
    })
    .await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let reply = pounce.get(&format!("/v2/a/manifests/{payload}")).await;
    assert_eq!((reply.status, &reply.code()[..]), (400, "MANIFEST_INVALID"));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("schema 1"), "{text}");
    // By its tag, the manifest is passed through unchanged.
    let reply = pounce.get("/v2/a/manifests/v1").await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").ends_with("v1+prettyjws"));
}
