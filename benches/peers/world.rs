//! The world of the warm scenarios: an S3, and an image in it.

use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::peers::{self, Words};
use crate::support::image::{Image, digest};
use crate::support::requests::closing;
use crate::support::{Process, program};
use crate::tools;

/// The repository.
pub const NAME: &str = "bench/warm";
/// The user, where a contestant demands one.
pub const USER: (&str, &str) = ("alice", "secret");

/// An S3 (the embedded one of another pounce), an image in it, and the placeholders for both.
pub struct World {
    pub s3: Process,
    pub words: Words,
    folder: TempDir,
    image: Image,
}

impl World {
    pub async fn build() -> Self {
        // A config and eleven layers: a manifest of some 2 KB.
        let s3 = Process::over(tools::folder(2 << 30), &[]);
        let image = Image::new(7, &[1000; 11]);
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut words = s3_words(&s3);
        words.extend([
            ("digest", digest(&image.blobs[1])),
            ("manifest", path("manifest")),
            ("manifestdigest", image.digest()),
            ("htpasswd", path("htpasswd")),
        ]);
        fs::write(path("manifest"), &image.manifest).unwrap();
        fs::write(path("htpasswd"), htpasswd()).unwrap();

        let pounce = peers::of("warm").into_iter().find(peers::Peer::is_pounce);
        let pounce = pounce.unwrap().start(&words).await.unwrap();
        push(&pounce.url, &image).await;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let url = format!("{}/v2/{NAME}/blobs/{}", pounce.url, words["digest"]);
        let answer = client.build().unwrap().get(url).send().await.unwrap();
        let url = answer.headers()["location"].to_str().unwrap().to_owned();
        words.insert("url", url);
        Self { s3, words, folder, image }
    }

    pub fn blob(&self) -> String {
        format!("/v2/{NAME}/blobs/{}", self.words["digest"])
    }

    pub fn by_tag() -> String {
        format!("/v2/{NAME}/manifests/latest")
    }

    pub fn by_digest(&self) -> String {
        format!("/v2/{NAME}/manifests/{}", self.image.digest())
    }

    /// Puts so many further blobs into the bucket, straight into its folder, with a thread a core; their paths.
    pub fn many(&self, blobs: u32) -> Vec<String> {
        let root = self.s3.folder.path().join("data/docker/registry/v2");
        let links = root.join(format!("repositories/{NAME}/_layers/sha256"));
        let put = |number: u32| {
            let content = number.to_be_bytes();
            let hex = const_hex::encode(Sha256::digest(content));
            let blob = root.join("blobs/sha256").join(&hex[..2]).join(&hex);
            write(&blob.join("data"), &content);
            let link = links.join(&hex).join("link");
            write(&link, format!("sha256:{hex}").as_bytes());
            format!("/v2/{NAME}/blobs/sha256:{hex}")
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let numbers: Vec<u32> = (0..blobs).collect();
        thread::scope(|scope| {
            let shares = numbers.chunks(numbers.len().div_ceil(threads).max(1));
            let shares = shares.map(|share| scope.spawn(|| share.iter().copied().map(put).collect()));
            // All threads begin before the first is joined.
            let shares: Vec<thread::ScopedJoinHandle<Vec<_>>> = shares.collect();
            let paths = shares.into_iter().map(|share| share.join().unwrap());
            paths.flatten().collect()
        })
    }

    /// A script for wrk that asks for one path after the other.
    pub fn script(&self, paths: &[String]) -> PathBuf {
        let list = self.folder.path().join("paths");
        fs::write(&list, paths.join("\n")).unwrap();
        let script = format!(
            "local requests = {{}}\n\
             local at = 0\n\
             function init(args)\n\
               for path in io.lines(\"{}\") do requests[#requests + 1] = wrk.format(\"GET\", path) end\n\
               math.randomseed(os.time())\n\
               at = math.random(#requests)\n\
             end\n\
             function request() at = at % #requests + 1; return requests[at] end\n",
            list.display()
        );
        self.lua("many.lua", &script)
    }

    fn lua(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// The htpasswd line of the user.
fn htpasswd() -> Vec<u8> {
    let mut child = Command::new(program())
        .args(["htpasswd", USER.0])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut password = child.stdin.take().unwrap();
    password.write_all(USER.1.as_bytes()).unwrap();
    drop(password);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "pounce htpasswd");
    output.stdout
}

/// The placeholders for an S3.
pub fn s3_words(s3: &Process) -> Words {
    let variables = s3.as_s3();
    let names = [
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "s3"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "accesskey"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "secretkey"),
    ];
    let word = |(variable, word)| {
        let (_, value) = variables.iter().find(|(name, _)| *name == variable).unwrap();
        (word, value.clone())
    };
    names.into_iter().map(word).collect()
}

async fn push(registry: &str, image: &Image) {
    for blob in &image.blobs {
        push_blob(registry, NAME, blob).await;
    }
    push_manifest(registry, NAME, "latest", image).await;
}

/// Pushes a blob by POST and PUT.
pub async fn push_blob(registry: &str, name: &str, blob: &Bytes) {
    let client = reqwest::Client::new();
    let begun = client.post(format!("{registry}/v2/{name}/blobs/uploads/")).send().await.unwrap();
    let put = client.put(closing(&location(registry, &begun), &digest(blob)));
    let closed = put.body(blob.clone()).send().await.unwrap();
    assert_eq!(closed.status(), 201);
}

/// The same in one PATCH, as docker does it.
pub async fn push_blob_in_chunks(registry: &str, name: &str, blob: &Bytes) {
    let client = reqwest::Client::new();
    let begun = client.post(format!("{registry}/v2/{name}/blobs/uploads/")).send().await.unwrap();
    let patched = client.patch(location(registry, &begun)).body(blob.clone()).send().await.unwrap();
    assert_eq!(patched.status(), 202);
    let put = client.put(closing(&location(registry, &patched), &digest(blob)));
    assert_eq!(put.send().await.unwrap().status(), 201);
}

fn location(registry: &str, answer: &reqwest::Response) -> String {
    let location = answer.headers()["location"].to_str().unwrap();
    reqwest::Url::parse(registry).unwrap().join(location).unwrap().into()
}

/// Pushes the manifest of an image whose blobs were pushed.
pub async fn push_manifest(registry: &str, name: &str, tag: &str, image: &Image) {
    let client = reqwest::Client::new();
    let put = client.put(format!("{registry}/v2/{name}/manifests/{tag}"));
    let put = put.header("content-type", &image.media_type);
    let pushed = put.body(image.manifest.clone()).send().await.unwrap();
    assert_eq!(pushed.status(), 201);
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir(path.parent().unwrap()).or_else(|_| fs::create_dir_all(path.parent().unwrap())).unwrap();
    fs::write(path, content).unwrap();
}
