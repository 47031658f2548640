//! No fill waits for ever for the memory of another.

use bytes::Bytes;
use pounce::config::FillTuning;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{FakeS3, Image, Pounce, Rule, Upstream, borrowed};

const MIB: usize = 1 << 20;

struct Cold {
    upstream: Upstream,
    s3: FakeS3,
    pounce: Pounce,
    image: Image,
}

/// Layers that are only at an upstream. Three quarters of the memory, 24 MiB, are for one of them, and a chunk has 16.
async fn cold(manners: Manners, layers: &[usize], more: &[(&str, &str)]) -> Cold {
    let (upstream, s3, image) = (Upstream::start().await, FakeS3::start(&[]).await, Image::new(33, layers));
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    let (url, variables) = (upstream.url(), s3.variables());
    let own = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_FILL_MEMORY", "33554432")];
    let pounce = Pounce::tuned(&[&borrowed(&variables), &own[..], more].concat(), FillTuning::default()).await;
    Cold { upstream, s3, pounce, image }
}

impl Cold {
    fn blob(&self, layer: usize) -> &Bytes {
        &self.image.blobs[layer + 1]
    }

    fn path(&self, layer: usize) -> String {
        format!("/v2/a/b/blobs/{}", digest(self.blob(layer)))
    }

    fn has_stored(&self, layer: usize) -> bool {
        let digest = digest(self.blob(layer));
        let end = format!("{}/data", digest.strip_prefix("sha256:").unwrap());
        self.s3.keys().iter().any(|key| key.ends_with(&end))
    }

    async fn pulls(&self, layer: usize) -> bool {
        self.pounce.get(&self.path(layer)).await.body == self.blob(layer)[..]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stopped_keeps_no_memory_of_a_blob_that_was_not_stored() {
    let cold = cold(Manners::default(), &[20 * MIB], &[]).await;
    cold.s3.rules(&[Rule::FullDisk(507)]);
    let mut stopped = cold.pounce.request("GET", &cold.path(0)).send().await.unwrap();
    stopped.chunk().await.unwrap().unwrap();
    cold.pounce.until_quiet().await;
    cold.s3.rules(&[]);
    assert!(cold.pulls(0).await);
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_unknown_size_is_sent_once_more_although_its_last_chunk_is_in_memory() {
    let manners = Manners { chunked: true, ..Manners::default() };
    let cold = cold(manners, &[40 * MIB], &[("REGISTRY_PROXY_FILL_COMPOSE", "send")]).await;
    assert!(cold.pulls(0).await);
    cold.pounce.until_quiet().await;
    assert!(cold.has_stored(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_does_not_wait_behind_chunks() {
    let manners = Manners { holds_after: Some(4 * MIB), ..Manners::default() };
    let cold = cold(manners, &[40 * MIB, 41 * MIB, 42 * MIB, 2000], &[]).await;
    let mut large = Vec::new();
    for layer in 0..3 {
        let mut begun = cold.pounce.request("GET", &cold.path(layer)).send().await.unwrap();
        // The third waits for a chunk.
        if layer < 2 {
            begun.chunk().await.unwrap().unwrap();
        }
        large.push(begun);
    }
    assert!(cold.pulls(3).await);
    cold.upstream.release();
    drop(large);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_says_no_size_does_not_fill_the_bucket() {
    let cold = cold(Manners { chunked: true, ..Manners::default() }, &[80 * MIB], &[]).await;
    let layer = digest(cold.blob(0));
    let manifest = format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a/b","digest":"{layer}","size":1000}}]}}"#);
    cold.upstream.add_manifest("a/b", "lie", "application/vnd.oci.image.manifest.v1+json", manifest);
    assert_eq!(cold.pounce.get("/v2/a/b/manifests/lie").await.status, 200);
    assert!(!cold.pulls(0).await);
    cold.pounce.until_quiet().await;
    assert!(!cold.has_stored(0));
}
