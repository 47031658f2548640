//! Listing referrers (spec, "Listing Referrers"): end-12a and end-12b.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::scripted::{refusal, text};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Reply, Said, Scripted, Upstream};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A manifest that refers to another one.
fn artifact(subject: &str, artifact_type: Option<&str>, annotations: &Value) -> Bytes {
    let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2}, "layers": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}, "annotations": annotations});
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    manifest.to_string().into()
}

fn listed(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, OCI_INDEX), "{reply:?}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    body["manifests"].as_array().unwrap().clone()
}

fn digests(reply: &Reply) -> Vec<String> {
    let listed = listed(reply);
    listed.iter().map(|it| it["digest"].as_str().unwrap().to_owned()).collect()
}

fn sorted(manifests: &[&Bytes]) -> Vec<String> {
    let mut digests: Vec<_> = manifests.iter().map(|bytes| digest(bytes)).collect();
    digests.sort();
    digests
}

#[tokio::test]
async fn end_12a_lists_what_refers_to_a_manifest() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10]);
    let path = format!("/v2/a/b/referrers/{}", image.digest());
    // An unknown repository has an empty list.
    assert!(listed(&pounce.get(&path).await).is_empty());
    pounce.push_image("a/b", "v1", &image).await;
    pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let plain = artifact(&image.digest(), None, &json!({}));
    let sbom = artifact(&image.digest(), Some("application/sbom"), &json!({"a": "1", "b": "2"}));
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": 1}});
    let index = Bytes::from(index.to_string());
    for (reference, media_type, bytes) in [
        ("plain".to_owned(), OCI_MANIFEST, &plain),
        (digest(&sbom), OCI_MANIFEST, &sbom),
        (digest(&index), OCI_INDEX, &index),
    ] {
        let reply = pounce.put_manifest("a/b", &reference, media_type, bytes.clone()).await;
        assert_eq!((reply.status, reply.header("oci-subject")), (201, image.digest().as_str()));
    }
    let reply = pounce.get(&path).await;
    assert_eq!(digests(&reply), sorted(&[&plain, &sbom, &index]));
    assert!(!reply.headers.contains_key("oci-filters-applied"));
    let expected = [
        json!({"mediaType": OCI_MANIFEST, "digest": digest(&plain), "size": plain.len(), "artifactType": EMPTY}),
        json!({"mediaType": OCI_MANIFEST, "digest": digest(&sbom), "size": sbom.len(),
            "artifactType": "application/sbom", "annotations": {"a": "1", "b": "2"}}),
        json!({"mediaType": OCI_INDEX, "digest": digest(&index), "size": index.len()}),
    ];
    let listed = listed(&reply);
    assert!(expected.iter().all(|descriptor| listed.contains(descriptor)), "{listed:?}");

    // end-12b
    for (artifact_type, bytes) in [("application/sbom", Some(&sbom)), (EMPTY, Some(&plain)), ("x/y", None)] {
        let reply = pounce.get(&format!("{path}?artifactType={artifact_type}")).await;
        assert_eq!(digests(&reply), sorted(&bytes.into_iter().collect::<Vec<_>>()));
        assert_eq!(reply.header("oci-filters-applied"), "artifactType");
    }
    let other = format!("/v2/c/d/referrers/{}", image.digest());
    assert!(digests(&pounce.get(&other).await).is_empty());
    assert_eq!(pounce.get("/v2/a/b/referrers/sha256:1").await.code(), "DIGEST_INVALID");

    // From the bucket, without the deleted ones.
    let pounce = pounce.restart(&[]).await;
    assert_eq!(digests(&pounce.get(&path).await).len(), 3);
    pounce.delete(&format!("/v2/a/b/manifests/{}", digest(&sbom))).await;
    assert_eq!(digests(&pounce.get(&path).await), sorted(&[&plain, &index]));
}

#[tokio::test]
async fn many_referrers_come_in_pages() {
    let pounce = Pounce::with(&[]).await;
    pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let subject = digest(b"subject");
    let mut pushed = Vec::new();
    for number in 0..5 {
        let note = json!({"note": "x".repeat(900_000), "number": number.to_string()});
        let bytes = artifact(&subject, Some("x/y+z"), &note);
        pounce.put_manifest("a/b", &digest(&bytes), OCI_MANIFEST, bytes.clone()).await;
        pushed.push(bytes);
    }
    let expected = sorted(&pushed.iter().collect::<Vec<_>>());
    for query in ["", "?artifactType=x%2Fy%2Bz"] {
        let mut path = format!("/v2/a/b/referrers/{subject}{query}");
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let reply = pounce.get(&path).await;
            assert!(reply.body.len() < 4 << 20);
            all.extend(digests(&reply));
            pages += 1;
            let Some(link) = reply.header("link").strip_prefix('<') else {
                break;
            };
            let (next, relation) = link.split_once('>').unwrap();
            assert_eq!(relation, "; rel=\"next\"");
            next.clone_into(&mut path);
        }
        assert_eq!((pages, &all), (3, &expected));
    }
}

#[tokio::test]
async fn referrers_that_clients_listed_under_a_tag_are_listed() {
    let pounce = Pounce::with(&[]).await;
    pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let (subject, other) = (digest(b"subject"), digest(b"other"));
    let (right, wrong) = (artifact(&subject, None, &json!({})), artifact(&other, None, &json!({})));
    let mut descriptors = Vec::new();
    for bytes in [&right, &wrong] {
        pounce.put_manifest("a/b", &digest(bytes), OCI_MANIFEST, bytes.clone()).await;
        descriptors.push(json!({"mediaType": OCI_MANIFEST, "digest": digest(bytes), "size": bytes.len()}));
    }
    // As if clients had pushed them to a registry without the API.
    let entries = pounce.root().join("docker/registry/v2/repositories/a/b/_manifests/referrers");
    std::fs::remove_dir_all(entries).unwrap();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors});
    let tag = subject.replace(':', "-");
    let reply = pounce.put_manifest("a/b", &tag, OCI_INDEX, index.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let pounce = pounce.restart(&[]).await;
    let reply = pounce.get(&format!("/v2/a/b/referrers/{subject}")).await;
    assert_eq!(digests(&reply), sorted(&[&right]));
}

#[tokio::test]
async fn the_upstreams_referrers_are_listed_too() {
    let upstream = Upstream::start().await;
    let (image, tagged) = (Image::new(1, &[10]), Image::new(2, &[20]));
    upstream.add("a/b", "v1", &image);
    upstream.add("a/b", "v2", &tagged);
    let theirs = artifact(&image.digest(), Some("x/theirs"), &json!({}));
    let descriptor =
        json!({"mediaType": OCI_MANIFEST, "digest": digest(&theirs), "size": theirs.len(), "artifactType": "x/theirs"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]}).to_string();
    // By the API, and by the tag for a subject without it.
    upstream.add_referrers("a/b", &image.digest(), index.clone());
    upstream.add_manifest("a/b", &tagged.digest().replace(':', "-"), OCI_INDEX, index);
    let pounce = Pounce::before(&upstream).await;
    pounce.push("a/b", Bytes::from_static(b"{}")).await;
    for subject in [image.digest(), tagged.digest()] {
        let path = format!("/v2/a/b/referrers/{subject}");
        assert_eq!(digests(&pounce.get(&path).await), sorted(&[&theirs]));
        let ours = artifact(&subject, Some("x/ours"), &json!({}));
        pounce.put_manifest("a/b", &digest(&ours), OCI_MANIFEST, ours.clone()).await;
        let reply = pounce.get(&path).await;
        assert_eq!(digests(&reply), sorted(&[&theirs, &ours]));
        // pounce asks the upstream once, for all clients within a while.
        let asked = upstream.count("GET", "/referrers/");
        let reply = pounce.get(&format!("{path}?artifactType=x/ours")).await;
        assert_eq!(digests(&reply), sorted(&[&ours]));
        assert_eq!(upstream.count("GET", "/referrers/"), asked);
    }
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let reply = pounce.get(&format!("/v2/a/b/referrers/{}", image.digest())).await;
    assert_eq!(digests(&reply).len(), 1);
}

/// An upstream with this answer to the referrers API, and with a list under a tag.
async fn with_tag_schema(api: Said, subject: &str) -> Scripted {
    let tag = subject.replace(':', "-");
    Scripted::start(move |seen| {
        let (api, tag) = (api.clone(), tag.clone());
        async move {
            if seen.path.contains("/referrers/") {
                return api;
            }
            if !seen.path.ends_with(&format!("/manifests/{tag}")) {
                return refusal(404, "MANIFEST_UNKNOWN");
            }
            let entry = json!({"mediaType": OCI_MANIFEST, "digest": digest(b"r"), "size": 1});
            let index = json!({"schemaVersion": 2, "manifests": [entry, {"digest": "?"}]});
            text(200, OCI_INDEX, &index.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn an_upstream_without_the_api_says_so_in_many_ways() {
    let subject = digest(b"subject");
    let null = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null}).to_string();
    let mut cases: Vec<(Said, usize, bool)> =
        [400, 401, 403, 404, 405, 406, 501].map(|status| (refusal(status, "UNSUPPORTED"), 1, true)).into();
    cases.extend([
        (text(405, "text/html", "<html>"), 1, true),
        (text(200, "text/html", "<html>"), 1, true),
        (text(200, "application/json", "{\"message\":\"no\"}"), 1, true),
        (text(200, OCI_INDEX, &null), 0, true),
        (text(200, OCI_INDEX, "{\"manif"), 0, false),
        (refusal(500, "UNKNOWN"), 0, false),
        (refusal(429, "TOOMANYREQUESTS"), 0, false),
    ]);
    for (api, expected, is_whole) in cases {
        let upstream = with_tag_schema(api.clone(), &subject).await;
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
        let reply = pounce.get(&format!("/v2/a/b/referrers/{subject}")).await;
        assert_eq!(listed(&reply).len(), expected, "{api:?}");
        assert_eq!(reply.header("warning").is_empty(), is_whole, "{api:?}");
        if is_whole {
            assert_eq!(upstream.count("GET", "/referrers/"), 1, "{api:?}");
        }
    }
}
