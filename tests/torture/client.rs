//! A client that returns how an operation ended; the client of the other tests asserts success.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::Image;
use crate::support::image::digest;
use crate::support::ranged::{Form, Shape, assemble, read_chunk};
use crate::support::requests::{closing, streamed};

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An error from the registry, with its code.
    Refused(u16, String),
    /// No answer, or half of one.
    Broken(String),
    /// A malformed answer: a status without the error body that belongs to it.
    Odd(u16, String),
    /// Bytes with another digest.
    Wrong(String),
}

impl Trouble {
    /// The error tells the client to try again later.
    pub fn is_clear(&self) -> bool {
        matches!(self, Self::Refused(429 | 500..=599, _))
    }

    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }

    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Refused(404, _))
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(format!("{error:?}"))
    }
}

/// How long an answer of the S3 may take.
const FETCH: Duration = Duration::from_secs(10);

pub type Outcome<T = ()> = Result<T, Trouble>;

/// How a blob is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// POST, PUT: containerd.
    Whole,
    /// POST, PATCH without a length, PUT: docker.
    Streamed,
    /// POST, PATCH a few times, PUT.
    Chunks,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Whole, Self::Streamed, Self::Chunks];
}

struct Reply {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

#[derive(Clone)]
pub struct Client {
    pub base: String,
    http: reqwest::Client,
    /// How many requests were begun, and the last one of them.
    begun: Arc<watch::Sender<(usize, String)>>,
    /// How it cuts the blobs of the images that it pulls, if it does.
    shape: Option<Shape>,
}

impl Client {
    /// A client of the registry at a host and port; no request takes longer than `patience`.
    pub fn of(addr: impl std::fmt::Display, patience: Duration) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(patience).build();
        Self { base: format!("http://{addr}"), http: http.unwrap(), begun: Arc::default(), shape: None }
    }

    /// The same client, which pulls the blobs of images in ranges.
    pub fn in_ranges(self, shape: Shape) -> Self {
        Self { shape: Some(shape), ..self }
    }

    /// Waits until `count` requests were begun.
    pub async fn until_begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        // The wait cannot fail: `self` has a sender.
        let _ = begun.wait_for(|(reached, _)| *reached >= count).await;
    }

    /// How many requests were begun, and the last one's method and subject.
    pub fn begun(&self) -> (usize, String) {
        self.begun.borrow().clone()
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        let about = ["manifests", "blobs/uploads", "blobs"];
        let about = about.iter().find(|about| path.contains(&format!("/{about}/")));
        self.begun.send_modify(|begun| {
            *begun = (begun.0 + 1, format!("{method} {}", about.unwrap_or(&path)));
        });
        self.http.request(method.parse().unwrap(), url)
    }

    /// The answer, if it has one of these statuses.
    async fn ask(&self, request: RequestBuilder, fine: &[u16]) -> Outcome<Reply> {
        let response = self.answer(request, fine).await?;
        let status = response.status().as_u16();
        let location = response.headers().get("location");
        let location = location.map(|value| value.to_str().unwrap().to_owned());
        let body = response.bytes().await?;
        Ok(Reply { status, location, body })
    }

    /// The answer before its body, if it has one of these statuses.
    async fn answer(&self, request: RequestBuilder, fine: &[u16]) -> Outcome<Response> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        if fine.contains(&status) {
            return Ok(response);
        }
        let body = response.bytes().await?;
        let parsed: Option<Value> = serde_json::from_slice(&body).ok();
        let code = parsed.and_then(|body| Some(body["errors"][0]["code"].as_str()?.to_owned()));
        Err(code.map_or_else(
            || Trouble::Odd(status, String::from_utf8_lossy(&body).into_owned()),
            |code| Trouble::Refused(status, code),
        ))
    }

    pub async fn push_blob(&self, name: &str, blob: &Bytes, way: Way) -> Outcome {
        let digest = digest(blob);
        let begin = self.request("POST", &format!("/v2/{name}/blobs/uploads/"));
        let mut location = located(self.ask(begin, &[202]).await?)?;
        let chunks: Vec<Bytes> = match way {
            Way::Whole => vec![],
            Way::Streamed => vec![blob.clone()],
            Way::Chunks => {
                let size = blob.len().div_ceil(3).max(1);
                let starts = (0..blob.len()).step_by(size);
                starts.map(|at| blob.slice(at..blob.len().min(at + size))).collect()
            }
        };
        let rest = if chunks.is_empty() { blob.clone() } else { Bytes::new() };
        for chunk in chunks {
            let patch = self.request("PATCH", &location);
            let patch = patch.body(streamed(vec![chunk]));
            location = located(self.ask(patch, &[202]).await?)?;
        }
        let put = self.request("PUT", &closing(&location, &digest)).body(rest);
        self.ask(put, &[201]).await.map(drop)
    }

    /// Whether a repository has a blob.
    pub async fn has_blob(&self, name: &str, wanted: &str) -> Outcome<bool> {
        let head = self.request("HEAD", &format!("/v2/{name}/blobs/{wanted}"));
        match head.send().await?.status().as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            // The answer has no body that could give a code.
            status => Err(Trouble::Refused(status, String::new())),
        }
    }

    /// Whether a blob of another repository could be mounted; the upload that begins otherwise is abandoned.
    pub async fn mount(&self, name: &str, wanted: &str, from: &str) -> Outcome<bool> {
        let post = self.request("POST", &format!("/v2/{name}/blobs/uploads/?mount={wanted}&from={from}"));
        Ok(self.ask(post, &[201, 202]).await?.status == 201)
    }

    pub async fn push_manifest(&self, name: &str, tag: &str, image: &Image) -> Outcome {
        let put = self.request("PUT", &format!("/v2/{name}/manifests/{tag}"));
        let put = put.header("content-type", &image.media_type);
        let put = put.body(image.manifest.clone());
        self.ask(put, &[201]).await.map(drop)
    }

    /// Blobs and manifest.
    pub async fn push(&self, name: &str, tag: &str, image: &Image, way: Way) -> Outcome {
        for blob in &image.blobs {
            self.push_blob(name, blob, way).await?;
        }
        self.push_manifest(name, tag, image).await
    }

    /// A manifest; checks that a digest reference fits its bytes.
    pub async fn manifest(&self, name: &str, reference: &str) -> Outcome<Bytes> {
        let get = self.request("GET", &format!("/v2/{name}/manifests/{reference}"));
        let body = self.ask(get, &[200]).await?.body;
        let is_digest = reference.starts_with("sha256:");
        if is_digest && digest(&body) != reference {
            return Err(Trouble::Wrong(format!("{name} {reference}")));
        }
        Ok(body)
    }

    /// A blob, streamed or redirected; checks that its bytes have the digest.
    pub async fn blob(&self, name: &str, wanted: &str) -> Outcome<Bytes> {
        let get = self.request("GET", &format!("/v2/{name}/blobs/{wanted}"));
        let mut reply = self.ask(get, &[200, 307]).await?;
        if reply.status == 307 {
            let location = located(reply)?;
            reply = self.fetch(&location).await?;
        }
        if digest(&reply.body) != wanted {
            return Err(Trouble::Wrong(format!("{name} {wanted}")));
        }
        Ok(reply.body)
    }

    /// A blob of `size` bytes in ranges, each streamed or redirected; checks that all of them have the digest.
    async fn blob_in_ranges(&self, name: &str, wanted: &str, size: usize, shape: Shape) -> Outcome {
        let streamed = AtomicBool::new(false);
        let fetch = |chunk| self.chunk(name, wanted, chunk, (shape.form, &streamed));
        let bytes = assemble(size, shape.parallel, shape.chunks(size), fetch).await?;
        if digest(&bytes) == wanted {
            return Ok(());
        }
        let text = format!("{name} {wanted} in ranges");
        // A range is not verified before its blob is, so the client verifies it, and pulls again.
        Err(if streamed.into_inner() { Trouble::Broken(text) } else { Trouble::Wrong(text) })
    }

    /// One chunk of a blob; notes whether it came through the registry.
    async fn chunk(
        &self,
        name: &str,
        wanted: &str,
        chunk: Range<usize>,
        (form, streamed): (Form, &AtomicBool),
    ) -> Outcome<Vec<u8>> {
        let range = form.header(&chunk);
        let get = self.request("GET", &format!("/v2/{name}/blobs/{wanted}")).header("range", &range);
        let mut response = self.answer(get, &[200, 206, 307]).await?;
        if let Some(location) = response.headers().get("location") {
            let get = self.request("GET", location.to_str().unwrap()).header("range", &range);
            response = self.answer(get, &[206]).await?;
        } else {
            streamed.store(true, Ordering::Relaxed);
        }
        if let Some(said) = response.headers().get("content-range")
            && !said.to_str().unwrap().starts_with(&format!("bytes {}-", chunk.start))
        {
            return Err(Trouble::Wrong(format!("{name} {wanted}: {said:?} for {range}")));
        }
        let bytes = read_chunk(response, &chunk).await?;
        bytes.ok_or_else(|| Trouble::Broken(format!("{name} {wanted}: {range} ended early")))
    }

    /// Fetches from the S3 with retries, because the S3's faults are not the registry's.
    async fn fetch(&self, location: &str) -> Outcome<Reply> {
        let mut last = Trouble::Broken("it was never tried".to_owned());
        for _ in 0..10 {
            let get = self.request("GET", location).timeout(FETCH);
            match self.ask(get, &[200]).await {
                Err(trouble @ (Trouble::Odd(500.., _) | Trouble::Broken(_))) => last = trouble,
                // A lagging region does not see the object yet.
                Err(trouble @ Trouble::Odd(404, _)) => {
                    last = trouble;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                other => return other,
            }
        }
        Err(last)
    }

    /// The location of the redirect, or the status of another answer.
    pub async fn redirect(&self, name: &str, wanted: &str) -> Outcome<String> {
        let get = self.request("GET", &format!("/v2/{name}/blobs/{wanted}"));
        located(self.ask(get, &[307]).await?)
    }

    /// A whole image: its manifest by tag, and the manifest's blobs.
    pub async fn pull(&self, name: &str, tag: &str) -> Outcome<Bytes> {
        let manifest = self.manifest(name, tag).await?;
        let parsed: Value =
            serde_json::from_slice(&manifest).map_err(|error| Trouble::Wrong(format!("{name}:{tag}: {error}")))?;
        let layers = parsed["layers"].as_array().cloned().unwrap_or_default();
        for blob in std::iter::once(&parsed["config"]).chain(&layers) {
            let wanted = blob["digest"].as_str().unwrap_or_default();
            match self.shape {
                None => drop(self.blob(name, wanted).await?),
                Some(shape) => {
                    let size = usize::try_from(blob["size"].as_u64().unwrap_or_default()).unwrap();
                    self.blob_in_ranges(name, wanted, size, shape).await?;
                }
            }
        }
        Ok(manifest)
    }

    /// Whether a manifest is there.
    pub async fn head(&self, name: &str, reference: &str) -> Outcome {
        let head = self.request("HEAD", &format!("/v2/{name}/manifests/{reference}"));
        self.ask(head, &[200]).await.map(drop)
    }

    pub async fn delete(&self, name: &str, reference: &str) -> Outcome {
        let delete = self.request("DELETE", &format!("/v2/{name}/manifests/{reference}"));
        self.ask(delete, &[202]).await.map(drop)
    }

    pub async fn tags(&self, name: &str) -> Outcome {
        let list = self.request("GET", &format!("/v2/{name}/tags/list"));
        self.ask(list, &[200, 404]).await.map(drop)
    }

    /// The status of a probe, or 0.
    pub async fn probe(&self, path: &str) -> u16 {
        let answer = self.request("GET", path).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }
}

fn located(reply: Reply) -> Outcome<String> {
    let Reply { status, location, .. } = reply;
    location.ok_or_else(|| Trouble::Odd(status, "no Location".to_owned()))
}

/// Retries as clients do, while connections break or the registry answers that it cannot serve now.
pub async fn with_retries<T, F>(times: usize, operation: impl Fn() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<T>>,
{
    let mut pause = Duration::from_millis(100);
    for _ in 1..times {
        match operation().await {
            Err(Trouble::Broken(_) | Trouble::Refused(429 | 500..=599, _)) => {}
            // If the upload is gone, the client begins a new one.
            Err(Trouble::Refused(404, code)) if code == "BLOB_UPLOAD_UNKNOWN" => {}
            other => return other,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    operation().await
}

/// Waits until a process answers this probe with this status.
pub async fn until_probe(client: &Client, path: &str, status: u16) {
    let began = Instant::now();
    while client.probe(path).await != status {
        assert!(began.elapsed() < Duration::from_secs(30), "{path} never is {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
