//! Pushes as clients do.

use bytes::Bytes;
use reqwest::RequestBuilder;

use super::Image;
use super::image::digest;
use super::pounce::{Pounce, Reply};
use super::requests::{closing, streamed};

impl Pounce {
    /// end-4a; returns the location.
    pub async fn begin(&self, name: &str) -> String {
        let path = format!("/v2/{name}/blobs/uploads/");
        let reply = self.send(self.request("POST", &path)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.header("location").to_owned()
    }

    /// end-5, as docker does it: without a length.
    pub async fn patch(&self, location: &str, bytes: Bytes) -> Reply {
        let request = self.request("PATCH", location);
        self.send(request.body(streamed(vec![bytes]))).await
    }

    /// end-5, as the spec writes it.
    pub fn chunk(&self, location: &str, start: usize, bytes: Bytes) -> RequestBuilder {
        let range = format!("{start}-{}", start + bytes.len() - 1);
        self.request("PATCH", location).header("content-range", range).body(bytes)
    }

    /// end-6
    pub async fn close(&self, location: &str, digest: &str, bytes: Bytes) -> Reply {
        let request = self.request("PUT", &closing(location, digest));
        self.send(request.body(bytes)).await
    }

    /// POST and PUT, as containerd does it.
    pub async fn push(&self, name: &str, bytes: Bytes) -> String {
        let (location, digest) = (self.begin(name).await, digest(&bytes));
        let reply = self.close(&location, &digest, bytes).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    /// end-7
    pub async fn put_manifest(&self, name: &str, reference: &str, media_type: &str, bytes: impl Into<Bytes>) -> Reply {
        let path = format!("/v2/{name}/manifests/{reference}");
        let request = self.request("PUT", &path);
        let request = request.header("content-type", media_type);
        self.send(request.body(bytes.into())).await
    }

    /// Blobs and manifest of an image.
    pub async fn push_image(&self, name: &str, tag: &str, image: &Image) {
        for blob in &image.blobs {
            self.push(name, blob.clone()).await;
        }
        let manifest = image.manifest.clone();
        let reply = self.put_manifest(name, tag, &image.media_type, manifest);
        let reply = reply.await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    /// A blob, streamed or redirected.
    pub async fn pull(&self, name: &str, digest: &str) -> Bytes {
        let reply = self.get(&format!("/v2/{name}/blobs/{digest}")).await;
        let reply = match reply.status {
            307 => self.follow(&reply).await,
            _ => reply,
        };
        assert_eq!((reply.status, reply.whole), (200, true), "{reply:?}");
        reply.body
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request("DELETE", path)).await
    }

    /// What uploads left in the bucket: parts, and small objects.
    pub fn scratch(&self) -> Vec<String> {
        let objects = self.objects().into_iter();
        let mut scratch: Vec<_> = objects.filter(|key| key.contains("/_uploads/")).collect();
        scratch.extend((0..self.open_uploads()).map(|_| "a multipart upload".to_owned()));
        scratch
    }
}
