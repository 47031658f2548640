//! How many requests to the bucket and the upstream an operation costs, because clients wait for them and operators pay
//! for them.

use crate::support::front::Front;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::{Image, Pounce, Upstream, borrowed};

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
