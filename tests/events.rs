//! Events of what clients do: each is the one that distribution sends. What is expected here was recorded from
//! distribution 2.8.2 for the same requests; `tests/interop/events.sh` compares the two again.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::faults::Faulty;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::receiver::{Posted, Receiver};
use crate::support::{Image, Pounce, Upstream, borrowed};

const ENDPOINTS: &str = "REGISTRY_NOTIFICATIONS_ENDPOINTS";
const REFERENCES: (&str, &str) = ("REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES", "true");
const BLOB_PULLS: (&str, &str) = ("REGISTRY_NOTIFICATIONS_EVENTS_BLOBPULLS", "true");
const V2: (&str, &str) = ("REGISTRY_NOTIFICATIONS_EVENTS_FORMAT", "v2");

async fn pounce(receiver: &Receiver, settings: &str, variables: &[(&str, &str)]) -> Pounce {
    let endpoints = format!("[{}]", receiver.endpoint(settings));
    let variables: Vec<_> = variables.iter().copied().chain([(ENDPOINTS, &endpoints[..])]).collect();
    Pounce::with(&variables).await
}

/// The action, the target and the method of an event, after a look at the rest.
fn short(pounce: &Pounce, posted: &Posted) -> (String, Value, String) {
    let event = posted.event();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(event), ["action", "actor", "id", "request", "source", "target", "timestamp"], "{event}");
    assert!(uuid::Uuid::parse_str(&text(&event["id"])).is_ok(), "{event}");
    assert!(humantime::parse_rfc3339(&text(&event["timestamp"])).is_ok(), "{event}");
    let request = &event["request"];
    assert_eq!(keys(request), ["addr", "host", "id", "method", "useragent"], "{event}");
    let addr: std::net::SocketAddr = text(&request["addr"]).parse().unwrap();
    assert!(addr.ip().is_loopback() && addr.port() > 0, "{event}");
    assert_eq!((text(&request["host"]), text(&request["useragent"])), (pounce.addr.to_string(), String::new()));
    assert!(uuid::Uuid::parse_str(&text(&request["id"])).is_ok(), "{event}");
    let source = &event["source"];
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    // The port of the setting.
    assert_eq!(text(&source["addr"]), format!("{}:0", host.trim()));
    assert!(uuid::Uuid::parse_str(&text(&source["instanceID"])).is_ok(), "{event}");
    (text(&event["action"]), event["target"].clone(), text(&request["method"]))
}

fn blob(pounce: &Pounce, name: &str, bytes: &Bytes) -> Value {
    json!({
        "mediaType": "application/octet-stream", "size": bytes.len(), "length": bytes.len(), "digest": digest(bytes),
        "repository": name, "url": pounce.url(&format!("/v2/{name}/blobs/{}", digest(bytes))),
    })
}

fn manifest(pounce: &Pounce, name: &str, media_type: &str, bytes: &Bytes) -> Value {
    json!({
        "mediaType": media_type, "size": bytes.len(), "length": bytes.len(), "digest": digest(bytes),
        "repository": name, "url": pounce.url(&format!("/v2/{name}/manifests/{}", digest(bytes))),
    })
}

fn with(mut target: Value, key: &str, value: impl Into<Value>) -> Value {
    target[key] = value.into();
    target
}

#[tokio::test]
async fn each_action_is_the_event_that_distribution_sends() {
    let receiver = Receiver::start().await;
    let pounce = pounce(&receiver, "", &[REFERENCES, BLOB_PULLS]).await;
    let image = Image::new(1, &[1000]);
    let [config, layer] = [&image.blobs[0], &image.blobs[1]];
    let index = Bytes::from(
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
            "mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": "amd64"}, "annotations": {"k": "v"},
        }]})
        .to_string(),
    );
    let references = json!([
        {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": digest(config)},
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len(), "digest": digest(layer)},
    ]);
    let entries = json!([{
        "mediaType": OCI_MANIFEST, "size": image.manifest.len(), "digest": image.digest(), "annotations": {"k": "v"},
    }]);
    let untagged = with(manifest(&pounce, "a/b", OCI_MANIFEST, &image.manifest), "references", references);
    let tagged = with(untagged.clone(), "tag", "t");
    let listed = with(with(manifest(&pounce, "a/b", OCI_INDEX, &index), "references", entries), "tag", "i");

    let mut expected = Vec::new();
    let mut expect = |action: &str, target: &Value, method: &str| {
        expected.push((action.to_owned(), target.clone(), method.to_owned()));
    };
    let layer_path = format!("/v2/a/b/blobs/{}", digest(layer));
    let by_digest = format!("/v2/a/b/manifests/{}", image.digest());

    pounce.push("a/b", config.clone()).await;
    expect("push", &blob(&pounce, "a/b", config), "PUT");
    pounce.push("a/b", layer.clone()).await;
    expect("push", &blob(&pounce, "a/b", layer), "PUT");
    // An event even though it was there.
    pounce.push("a/b", layer.clone()).await;
    expect("push", &blob(&pounce, "a/b", layer), "PUT");
    pounce.put_manifest("a/b", "t", OCI_MANIFEST, image.manifest.clone()).await;
    expect("push", &tagged, "PUT");
    pounce.put_manifest("a/b", &image.digest(), OCI_MANIFEST, image.manifest.clone()).await;
    expect("push", &untagged, "PUT");
    pounce.put_manifest("a/b", "i", OCI_INDEX, index.clone()).await;
    expect("push", &listed, "PUT");

    assert_eq!(pounce.head("/v2/a/b/manifests/t").await.status, 200);
    expect("pull", &tagged, "HEAD");
    assert_eq!(pounce.get("/v2/a/b/manifests/t").await.status, 200);
    expect("pull", &tagged, "GET");
    assert_eq!(pounce.get(&by_digest).await.status, 200);
    expect("pull", &untagged, "GET");
    assert_eq!(pounce.get("/v2/a/b/manifests/i").await.status, 200);
    expect("pull", &listed, "GET");
    // None of these is a pull.
    let etag = format!("\"{}\"", image.digest());
    let conditional = pounce.request("GET", "/v2/a/b/manifests/t").header("if-none-match", etag);
    assert_eq!(pounce.send(conditional).await.status, 304);
    assert_eq!(pounce.get("/v2/a/b/manifests/none").await.status, 404);
    assert_eq!(pounce.get("/v2/_catalog").await.status, 200);

    assert_eq!(pounce.head(&layer_path).await.status, 200);
    expect("pull", &blob(&pounce, "a/b", layer), "HEAD");
    // A redirect, which is answered from memory.
    assert_eq!(pounce.get(&layer_path).await.status, 307);
    expect("pull", &blob(&pounce, "a/b", layer), "GET");
    assert_eq!(pounce.range(&layer_path, "bytes=0-9").await.status, 307);
    expect("pull", &blob(&pounce, "a/b", layer), "GET");

    let mount = format!("/v2/c/d/blobs/uploads/?mount={}&from=a/b", digest(layer));
    assert_eq!(pounce.send(pounce.request("POST", &mount)).await.status, 201);
    expect("mount", &with(blob(&pounce, "c/d", layer), "fromRepository", "a/b"), "POST");
    let absent = format!("/v2/c/d/blobs/uploads/?mount={}&from=a/b", digest(b"absent"));
    assert_eq!(pounce.send(pounce.request("POST", &absent)).await.status, 202);

    assert_eq!(pounce.delete(&by_digest).await.status, 202);
    expect("delete", &json!({"repository": "a/b", "digest": image.digest()}), "DELETE");
    expect("delete", &json!({"repository": "a/b", "tag": "t"}), "DELETE");
    assert_eq!(pounce.delete(&by_digest).await.status, 404);
    assert_eq!(pounce.delete(&layer_path).await.status, 202);
    expect("delete", &json!({"repository": "a/b", "digest": digest(layer)}), "DELETE");
    // distribution 2.8 cannot delete a tag alone; version 3 sends this.
    assert_eq!(pounce.delete("/v2/a/b/manifests/i").await.status, 202);
    expect("delete", &json!({"repository": "a/b", "tag": "i"}), "DELETE");

    let posted = receiver.until(expected.len()).await;
    for (posted, expected) in posted.iter().zip(&expected) {
        assert_eq!(posted.headers["content-type"], "application/vnd.docker.distribution.events.v1+json");
        assert_eq!((&posted.method[..], &posted.path[..]), ("POST", "/events"));
        assert_eq!(&short(&pounce, posted), expected);
    }
    assert_eq!(posted.len(), expected.len());
    let ids: std::collections::BTreeSet<_> = posted.iter().map(|it| it.event()["id"].to_string()).collect();
    assert_eq!(ids.len(), posted.len());
    pounce.until_metric("events_pending", 0).await;
    assert_eq!(pounce.metric("events_total").await, posted.len() as u64);
}

/// In the envelope of version 3, media type, digest and size are in every event.
#[tokio::test]
async fn version_2_of_the_envelope_is_that_of_distribution_3() {
    let receiver = Receiver::start().await;
    let pounce = pounce(&receiver, "", &[V2, REFERENCES]).await;
    let image = Image::new(1, &[]);
    pounce.push_image("a/b", "t", &image).await;
    assert_eq!(pounce.delete("/v2/a/b/manifests/t").await.status, 202);
    let posted = receiver.until(3).await;
    for it in &posted {
        assert_eq!(it.headers["content-type"], "application/vnd.docker.distribution.events.v2+json");
    }
    let references = json!([{
        "mediaType": "application/vnd.oci.image.config.v1+json", "size": image.blobs[0].len(),
        "digest": digest(&image.blobs[0]),
    }]);
    let pushed = with(manifest(&pounce, "a/b", OCI_MANIFEST, &image.manifest), "references", references);
    assert_eq!(posted[1].event()["target"], with(pushed, "tag", "t"));
    let deleted = json!({"mediaType": "", "digest": "", "size": 0, "repository": "a/b", "tag": "t"});
    assert_eq!(posted[2].event()["target"], deleted);
}

#[tokio::test]
async fn pulls_of_blobs_and_references_are_off_by_default() {
    let receiver = Receiver::start().await;
    let pounce = pounce(&receiver, "", &[]).await;
    let image = Image::new(1, &[1000]);
    pounce.push_image("a/b", "t", &image).await;
    let path = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    assert_eq!((pounce.head(&path).await.status, pounce.get(&path).await.status), (200, 307));
    assert_eq!(pounce.get("/v2/a/b/manifests/t").await.status, 200);
    let events: Vec<_> = receiver.until(4).await.iter().map(|it| it.event().clone()).collect();
    let actions: Vec<_> = events.iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["push", "push", "push", "pull"]);
    assert!(events.iter().all(|it| it["target"].get("references").is_none()), "{events:?}");
}

/// Each tag that a push gives to a manifest is an event, and so is each that goes with it.
#[tokio::test]
async fn a_manifest_with_several_tags() {
    let receiver = Receiver::start().await;
    let pounce = pounce(&receiver, "ignoredmediatypes: [application/octet-stream]", &[]).await;
    let image = Image::new(1, &[]);
    pounce.push("a/b", image.blobs[0].clone()).await;
    let reference = format!("{}?tag=x&tag=y", image.digest());
    let reply = pounce.put_manifest("a/b", &reference, OCI_MANIFEST, image.manifest.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.delete(&format!("/v2/a/b/manifests/{}", image.digest())).await.status, 202);
    let posted = receiver.until(5).await;
    let said: Vec<_> = posted
        .iter()
        .map(|it| {
            let target = &it.event()["target"];
            (it.event()["action"].as_str().unwrap(), target["tag"].as_str(), target.get("digest").is_some())
        })
        .collect();
    let expected = [
        ("push", Some("x"), true),
        ("push", Some("y"), true),
        ("delete", None, true),
        ("delete", Some("x"), false),
        ("delete", Some("y"), false),
    ];
    assert_eq!(said, expected);
}

/// A cold blob has its size, and a registry behind an upstream sends events of pulls only.
#[tokio::test]
async fn pulls_through_are_pulls() {
    let (receiver, upstream, image) = (Receiver::start().await, Upstream::start().await, Image::new(1, &[100_000]));
    upstream.add("a/b", "t", &image);
    let url = upstream.url();
    let pounce = pounce(&receiver, "", &[BLOB_PULLS, ("REGISTRY_PROXY_REMOTEURL", &url)]).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/t").await.status, 200);
    assert_eq!(pounce.pull("a/b", &digest(image.layer())).await, *image.layer());
    pounce.until_stored(&digest(image.layer())).await;
    assert_eq!(pounce.pull("a/b", &digest(image.layer())).await, *image.layer());
    let posted = receiver.until(3).await;
    let tagged = with(manifest(&pounce, "a/b", OCI_MANIFEST, &image.manifest), "tag", "t");
    let cold_and_warm = blob(&pounce, "a/b", image.layer());
    for (posted, target) in posted.iter().zip([&tagged, &cold_and_warm, &cold_and_warm]) {
        assert_eq!(short(&pounce, posted), ("pull".to_owned(), target.clone(), "GET".to_owned()));
    }
    assert_eq!(posted.len(), 3);
}

#[tokio::test]
async fn an_event_names_the_user_the_client_and_the_url_that_it_used() {
    let receiver = Receiver::start().await;
    let user = crate::support::users::user("alice");
    let variables = [
        ("REGISTRY_AUTH_HTPASSWD_USERS", &user[..]),
        ("REGISTRY_HTTP_HOST", "https://registry.example.com/base/"),
        ("REGISTRY_HTTP_PREFIX", "/inside"),
        ("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8"),
    ];
    let pounce = pounce(&receiver, "", &variables).await;
    let path = format!("/inside/v2/a/b/blobs/uploads/?digest={}", digest(b"x"));
    let request =
        pounce.request("POST", &path).basic_auth("alice", Some(crate::support::users::password("alice"))).body("x");
    let headers =
        [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "other.example.com"), ("user-agent", "agent/1 <&>")];
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let reply = pounce.send(request).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let event = receiver.until(1).await[0].event().clone();
    assert_eq!(event["actor"], json!({"name": "alice"}));
    let expected = json!({
        "id": reply.header("x-request-id"), "addr": "192.0.2.7", "host": "other.example.com", "method": "POST",
        "useragent": "agent/1 <&>",
    });
    assert_eq!(event["request"], expected);
    let url = format!("https://registry.example.com/base/v2/a/b/blobs/{}", digest(b"x"));
    assert_eq!(event["target"]["url"], url);
}

#[tokio::test]
async fn ignored_actions_and_media_types_are_not_sent() {
    let receivers =
        [Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let settings = [
        "ignore: {actions: [pull, delete]}".to_owned(),
        format!("ignore: {{mediatypes: [application/octet-stream]}}, ignoredmediatypes: ['{OCI_MANIFEST}']"),
        "ignore: {mediatypes: [application/octet-stream], actions: [pull]}".to_owned(),
        "disabled: true".to_owned(),
    ];
    let endpoints: Vec<_> = receivers.iter().zip(&settings).map(|(it, settings)| it.endpoint(settings)).collect();
    let pounce = Pounce::with(&[(ENDPOINTS, &format!("[{}]", endpoints.join(", ")))]).await;
    let image = Image::new(1, &[]);
    pounce.push_image("a/b", "t", &image).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/t").await.status, 200);
    assert_eq!(pounce.delete("/v2/a/b/manifests/t").await.status, 202);
    pounce.until_metric("events_pending", 0).await;
    let sent: Vec<Vec<String>> = receivers
        .iter()
        .map(|it| it.events().iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect())
        .collect();
    // Deletes have no media type.
    assert_eq!(sent, [vec!["push", "push"], vec!["delete"], vec!["push", "delete"], vec![]]);
}

/// The push ends, whether or not its client waits for it, and so does its event.
#[tokio::test]
async fn a_push_whose_client_leaves_is_an_event() {
    let (receiver, bucket) = (Receiver::start().await, Pounce::with(&[]).await);
    let s3 = Faulty::before(bucket.addr, 1).await;
    let endpoints = format!("[{}]", receiver.endpoint(""));
    let mut variables = bucket.as_s3_behind(s3.addr);
    variables.push((ENDPOINTS, endpoints));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let image = Image::new(1, &[]);
    pounce.push("a/b", image.blobs[0].clone()).await;
    let held = s3.hold_of("PutObject", "/tags/t/current");
    let push = reqwest::Client::new().put(pounce.url("/v2/a/b/manifests/t")).header("content-type", OCI_MANIFEST);
    let push = tokio::spawn(push.body(image.manifest.clone()).send());
    held.came().await;
    let connections = pounce.metric("connections").await;
    push.abort();
    pounce.until_metric("connections", connections - 1).await;
    assert_eq!(receiver.posted().len(), 1);
    held.release();
    let posted = receiver.until(2).await;
    let target = &posted[1].event()["target"];
    assert_eq!((&target["tag"], &target["digest"]), (&"t".into(), &image.digest().into()));
}
