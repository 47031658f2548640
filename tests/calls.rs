//! How many requests to the bucket and the upstream an operation costs, because operators pay for them; and how many
//! round trips to the bucket come one after the other, because clients wait for these.

use std::time::Duration;

use bytes::Bytes;
use reqwest::RequestBuilder;

use crate::support::front::Front;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest, noise};
use crate::support::requests::closing;
use crate::support::{FakeS3, Image, Pounce, Reply, Rule, Upstream, borrowed};

const MANIFEST: &str = "/v2/a/b/manifests/1";

/// A bucket behind a counting front, and an upstream with an image.
struct Site {
    bucket: Pounce,
    front: Front,
    upstream: Upstream,
    image: Image,
}

impl Site {
    async fn start() -> Self {
        let bucket = Pounce::with(&[]).await;
        let front = Front::before(bucket.addr).await;
        let (upstream, image) = (Upstream::start().await, Image::new(1, &[5000, 6000, 7000]));
        upstream.add("a/b", "1", &image);
        Self { bucket, front, upstream, image }
    }

    /// A replica without caches and without an upstream.
    async fn bare_replica(&self) -> Pounce {
        Pounce::with(&borrowed(&self.bucket.as_s3_behind(self.front.addr))).await
    }

    /// Sends a request. Returns the round trips to the bucket that its client waits for, one after the other, and the
    /// calls of the bucket, with those in the background.
    async fn cost(&self, pounce: &Pounce, request: RequestBuilder, status: u16) -> (Reply, (usize, usize)) {
        self.front.take();
        let (reply, trips) = self.front.trips(pounce.send(request)).await;
        assert_eq!(reply.status, status, "{reply:?}");
        pounce.until_quiet().await;
        (reply, (trips, self.front.take().values().sum()))
    }

    /// A replica without caches.
    async fn replica(&self) -> Pounce {
        let mut variables = self.bucket.as_s3_behind(self.front.addr);
        variables.push(("REGISTRY_PROXY_REMOTEURL", self.upstream.url()));
        Pounce::with(&borrowed(&variables)).await
    }

    fn blob(&self, index: usize) -> String {
        format!("/v2/a/b/blobs/{}", digest(&self.image.blobs[index]))
    }

    /// Pulls the whole image, and waits until the bucket has it.
    async fn pull(&self, pounce: &Pounce) {
        assert_eq!(pounce.get(MANIFEST).await.status, 200);
        for blob in &self.image.blobs {
            assert_eq!(pounce.pull("a/b", &digest(blob)).await, *blob);
            self.bucket.until_stored(&digest(blob)).await;
        }
        pounce.until_quiet().await;
    }

    /// How many requests to the bucket and to the upstream a path costs, with those in the background.
    async fn asked(&self, pounce: &Pounce, method: &str, path: &str, status: u16) -> (usize, usize) {
        self.front.take();
        let before = self.upstream.requests();
        let reply = pounce.send(pounce.request(method, path)).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        pounce.until_quiet().await;
        let bucket = self.front.take().values().sum();
        (bucket, self.upstream.requests() - before)
    }
}

#[tokio::test]
async fn a_warm_pull_asks_nobody() {
    let site = Site::start().await;
    let pounce = site.replica().await;
    site.pull(&pounce).await;
    // The first redirect of each blob is not counted.
    for index in 0..site.image.blobs.len() {
        assert_eq!(pounce.get(&site.blob(index)).await.status, 307);
    }
    pounce.until_quiet().await;
    let by_digest = format!("/v2/a/b/manifests/{}", site.image.digest());
    for method in ["GET", "HEAD"] {
        for path in [MANIFEST, &by_digest] {
            assert_eq!(site.asked(&pounce, method, path, 200).await, (0, 0), "{method} {path}");
        }
    }
    for index in 0..site.image.blobs.len() {
        let path = site.blob(index);
        assert_eq!(site.asked(&pounce, "GET", &path, 307).await, (0, 0));
        assert_eq!(site.asked(&pounce, "HEAD", &path, 200).await, (0, 0));
    }
}

#[tokio::test]
async fn a_fresh_replica_asks_the_bucket_once_for_a_blob_of_a_manifest() {
    let site = Site::start().await;
    site.pull(&site.replica().await).await;
    // In the background, the manifest's pull checks each blob once; the manifest itself takes three requests.
    let second = site.replica().await;
    let (bucket, upstream) = site.asked(&second, "GET", MANIFEST, 200).await;
    assert_eq!((bucket, upstream), (3 + site.image.blobs.len(), 0));
    for index in 0..site.image.blobs.len() {
        assert_eq!(site.asked(&second, "GET", &site.blob(index), 307).await, (0, 0));
    }
    // A HEAD does not check the blobs, so each blob costs a request of its own.
    let third = site.replica().await;
    assert_eq!(third.head(MANIFEST).await.status, 200);
    third.until_quiet().await;
    for index in 0..site.image.blobs.len() {
        assert_eq!(site.asked(&third, "GET", &site.blob(index), 307).await, (1, 0));
    }
}

#[tokio::test]
async fn a_fresh_replica_asks_the_bucket_twice_at_once_for_a_blob_of_which_it_knows_nothing() {
    let site = Site::start().await;
    site.pull(&site.replica().await).await;
    // One request checks that the blob is stored, and another that it belongs to the repository.
    let second = site.replica().await;
    assert_eq!(site.asked(&second, "GET", &site.blob(1), 307).await, (2, 0));
    assert_eq!(site.asked(&second, "GET", &site.blob(1), 307).await, (0, 0));
}

#[tokio::test]
async fn forty_clients_of_a_cold_image_cost_the_upstream_one() {
    let site = Site::start().await;
    let pounce = site.replica().await;
    let clients = (0..40).map(|_| async {
        assert_eq!(pounce.get(MANIFEST).await.status, 200);
        for blob in &site.image.blobs {
            assert_eq!(pounce.pull("a/b", &digest(blob)).await, *blob);
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(site.upstream.count("GET", "/manifests/"), 1);
    assert_eq!(site.upstream.count("GET", "/blobs/"), site.image.blobs.len());
}

#[tokio::test]
async fn a_referrer_that_is_listed_a_thousand_times_is_read_once() {
    let bucket = Pounce::with(&[]).await;
    let front = Front::before(bucket.addr).await;
    let variables = bucket.as_s3_behind(front.addr);
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "1", &image).await;
    let subject = image.digest();
    let referrer = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(&image.blobs[0]), "size": 10},
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}});
    let referrer = referrer.to_string();
    let named = digest(referrer.as_bytes());
    let put = pounce.put_manifest("a/b", "2", OCI_MANIFEST, referrer);
    assert_eq!(put.await.status, 201);
    let entry = serde_json::json!({"mediaType": OCI_MANIFEST, "digest": named, "size": 1});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": vec![entry; 1000]});
    let tag = subject.replace(':', "-");
    let put = pounce.put_manifest("a/b", &tag, OCI_INDEX, index.to_string());
    assert_eq!(put.await.status, 201);
    front.take();
    let listed = pounce.get(&format!("/v2/a/b/referrers/{subject}")).await;
    let listed: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 1);
    assert!(front.total() < 10, "{}", front.total());
}

#[tokio::test]
async fn a_push_of_a_blob_waits_for_few_round_trips() {
    let site = Site::start().await;
    let pounce = site.bare_replica().await;
    let uploads = "/v2/a/b/blobs/uploads/";
    let put = |location: &str, blob: &Bytes| pounce.request("PUT", &closing(location, &digest(blob)));
    let post = || site.cost(&pounce, pounce.request("POST", uploads), 202);

    // The first write of a process asks which keys are condemned, beside its other requests.
    let blob = noise(1, 1000);
    for (state, cost) in [("new", (2, 5)), ("stored", (2, 3))] {
        let (begun, free) = post().await;
        assert_eq!(free, (0, 0));
        let request = put(begun.header("location"), &blob).body(blob.clone());
        assert_eq!(site.cost(&pounce, request, 201).await.1, cost, "POST and PUT, {state}");
    }

    let blob = noise(2, 1000);
    for (state, cost) in [("new", (2, 3)), ("stored", (2, 2))] {
        let request = pounce.request("POST", &closing(uploads, &digest(&blob))).body(blob.clone());
        assert_eq!(site.cost(&pounce, request, 201).await.1, cost, "POST, {state}");
    }

    let blob = noise(3, 1000);
    for (state, patched, closed) in [("new", (1, 2), (2, 7)), ("stored", (1, 2), (2, 6))] {
        let (begun, _) = post().await;
        let request = pounce.request("PATCH", begun.header("location")).body(blob.clone());
        let (reply, cost) = site.cost(&pounce, request, 202).await;
        assert_eq!(cost, patched, "PATCH, {state}");
        let request = put(reply.header("location"), &blob);
        assert_eq!(site.cost(&pounce, request, 201).await.1, closed, "PUT after PATCH, {state}");
    }

    // A part, and some bytes more.
    let blob = noise(4, 11 << 20);
    let (begun, _) = post().await;
    let request = pounce.request("PATCH", begun.header("location")).body(blob.clone());
    let (reply, cost) = site.cost(&pounce, request, 202).await;
    assert_eq!(cost, (4, 4), "PATCH of parts");
    let request = put(reply.header("location"), &blob);
    assert_eq!(site.cost(&pounce, request, 201).await.1, (6, 10), "PUT after PATCH of parts");

    for query in [format!("?mount={}&from=a/b", digest(&blob)), format!("?mount={}", digest(&blob))] {
        let request = pounce.request("POST", &format!("/v2/c/d/blobs/uploads/{query}"));
        let (_, (trips, _)) = site.cost(&pounce, request, 201).await;
        assert_eq!(trips, 2, "{query}");
    }
}

#[tokio::test]
async fn a_push_of_a_manifest_waits_for_few_round_trips() {
    let site = Site::start().await;
    let pounce = site.bare_replica().await;
    let put = |reference: &str, media_type: &str, manifest: &Bytes| {
        let request = pounce.request("PUT", &format!("/v2/a/b/manifests/{reference}"));
        request.header("content-type", media_type).body(manifest.clone())
    };
    let image = &site.image;
    for blob in &image.blobs {
        pounce.push("a/b", blob.clone()).await;
    }
    let named = image.digest();
    let referrer = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(&image.blobs[0]), "size": 10},
        "subject": {"mediaType": OCI_MANIFEST, "digest": named, "size": 1}});
    let referrer = Bytes::from(referrer.to_string());
    let entry = serde_json::json!({"mediaType": OCI_MANIFEST, "digest": named, "size": image.manifest.len()});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    let index = Bytes::from(index.to_string());
    let other = Image::new(2, &[]);
    pounce.push("a/b", other.blobs[0].clone()).await;
    for (what, reference, media_type, manifest, cost) in [
        ("by tag", "1", OCI_MANIFEST, &image.manifest, (4, 14)),
        ("again", "1", OCI_MANIFEST, &image.manifest, (4, 14)),
        ("by digest", &other.digest(), OCI_MANIFEST, &other.manifest, (2, 4)),
        ("with more tags", "2?tag=3&tag=4", OCI_MANIFEST, &other.manifest, (4, 16)),
        ("an index", "5", OCI_INDEX, &index, (4, 9)),
        ("with a subject", "6", OCI_MANIFEST, &referrer, (4, 9)),
        ("with a subject by digest", &digest(&referrer), OCI_MANIFEST, &referrer, (3, 5)),
    ] {
        assert_eq!(site.cost(&pounce, put(reference, media_type, manifest), 201).await.1, cost, "{what}");
    }
    for (what, path, cost) in [
        ("a tag", "/v2/a/b/manifests/1".to_owned(), (5, 5)),
        ("a manifest with three tags", format!("/v2/a/b/manifests/{}", other.digest()), (11, 28)),
    ] {
        assert_eq!(site.cost(&pounce, pounce.request("DELETE", &path), 202).await.1, cost, "{what}");
    }
}

#[tokio::test]
async fn a_first_pull_waits_for_few_round_trips() {
    let site = Site::start().await;
    let pounce = site.bare_replica().await;
    pounce.push_image("a/b", "1", &site.image).await;
    let by_digest = format!("/v2/a/b/manifests/{}", site.image.digest());
    let missing = format!("/v2/a/b/blobs/{}", digest(b"missing"));
    // A GET of a manifest looks for its four blobs in the background.
    for (method, path, status, cost) in [
        ("GET", MANIFEST, 200, (2, 11)),
        ("GET", &by_digest, 200, (1, 10)),
        ("HEAD", &by_digest, 200, (1, 2)),
        ("GET", "/v2/a/b/manifests/missing", 404, (1, 1)),
        ("GET", &site.blob(1), 307, (1, 2)),
        ("HEAD", &site.blob(1), 200, (1, 2)),
        ("GET", &missing, 404, (1, 2)),
        ("HEAD", &missing, 404, (1, 2)),
        ("GET", "/v2/a/b/tags/list", 200, (1, 1)),
        ("GET", &format!("/v2/a/b/referrers/{}", site.image.digest()), 200, (1, 2)),
    ] {
        let fresh = site.bare_replica().await;
        assert_eq!(site.cost(&fresh, fresh.request(method, path), status).await.1, cost, "{method} {path}");
    }
}

/// What the nearest region does not have, the leader is asked for.
#[tokio::test]
async fn a_lagging_region_costs_a_round_trip_more() {
    let s3 = FakeS3::start(&[Rule::Lags(Duration::from_mins(10))]).await;
    let front = Front::before(s3.addr).await;
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_S3_REGIONENDPOINT", format!("http://{}", front.addr)));
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    let image = Image::new(1, &[1000]);
    Pounce::with(&borrowed(&variables)).await.push_image("a/b", "1", &image).await;
    let (young, missing) = (digest(&image.blobs[0]), digest(b"missing"));
    // A young blob is streamed, which takes another round trip.
    for (method, reference, status, trips) in [
        ("HEAD", format!("blobs/{young}"), 200, 2),
        ("GET", format!("blobs/{young}"), 200, 3),
        ("HEAD", format!("blobs/{missing}"), 404, 2),
        ("GET", format!("manifests/{}", image.digest()), 200, 2),
        ("GET", "manifests/1".to_owned(), 200, 4),
    ] {
        let fresh = Pounce::with(&borrowed(&variables)).await;
        let request = fresh.request(method, &format!("/v2/a/b/{reference}"));
        let (reply, took) = front.trips(fresh.send(request)).await;
        assert_eq!((reply.status, took), (status, trips), "{method} {reference}");
    }
}
