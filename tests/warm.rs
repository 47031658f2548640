//! `pounce warm`: the copied content, the output, and the exit status.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::image::{OCI_INDEX, digest};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream};

/// An upstream with an image, and with an index of two images.
pub struct Stage {
    pub upstream: Upstream,
    folder: TempDir,
    pub image: Image,
    amd64: Image,
    arm64: Image,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let upstream = Upstream::start().await;
        let (image, amd64, arm64) =
            (Image::new(1, &[100_000, 0]), Image::new(2, &[200_000]), Image::new(3, &[300_000]));
        upstream.add("org/app", "v1", &image);
        upstream.add("org/multi", "only-amd64", &amd64);
        upstream.add("org/multi", "only-arm64", &arm64);
        let entry = |image: &Image, architecture: &str| {
            json!({"mediaType": image.media_type, "digest": image.digest(),
                "size": image.manifest.len(), "platform": {"os": "linux", "architecture": architecture}})
        };
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [entry(&amd64, "amd64"), entry(&arm64, "arm64")]});
        upstream.add_manifest("org/multi", "v1", OCI_INDEX, index.to_string());
        Self { upstream, folder: TempDir::new().unwrap(), image, amd64, arm64 }
    }

    pub fn warm(&self, arguments: &[&str]) -> (i32, String) {
        self.warm_with(arguments, &[], "")
    }

    /// The exit status, and the whole output.
    pub fn warm_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> (i32, String) {
        let mut child = Command::new(crate::support::program())
            .env_clear()
            .env("REGISTRY_PROXY_REMOTEURL", self.upstream.url())
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", self.root())
            .envs(variables.iter().copied())
            .arg("warm")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (status.code().unwrap(), text.concat())
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }
}

fn has(root: &Path, bytes: &[u8]) -> bool {
    let hex = digest(bytes).replace("sha256:", "");
    let path = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    root.join(path).is_file()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_does_nothing_and_says_so() {
    let stage = Stage::new().await;
    let (status, said) = stage.warm(&["org/app:v1"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("org/app:v1: copied 3 blobs"), "{said}");
    assert!(said.contains("everything is in the bucket: 1 manifests and 3 blobs"), "{said}");
    for blob in stage.image.blobs.iter().chain([&stage.image.manifest]) {
        assert!(has(&stage.root(), blob));
    }
    stage.upstream.forget();
    let (status, said) = stage.warm(&["org/app:v1"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("org/app:v1: is in the bucket already"), "{said}");
    assert!(said.contains("nothing to do: 1 manifests and 3 blobs are in the bucket"), "{said}");
    assert_eq!(stage.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_warm_needs_no_upstream() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.warm(&["org/multi:v1"]).0, 0);
    let url = stage.upstream.url();
    stage.upstream.stop().await;
    let process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &url[..]),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", stage.root().to_str().unwrap()),
    ]);
    let get = async |path: String| reqwest::get(process.url(&path)).await.unwrap();
    assert_eq!(get("/v2/org/multi/manifests/v1".into()).await.status(), 200);
    for image in [&stage.amd64, &stage.arm64] {
        let manifest = get(format!("/v2/org/multi/manifests/{}", image.digest())).await;
        assert_eq!(manifest.bytes().await.unwrap(), image.manifest);
        for blob in &image.blobs {
            let reply = get(format!("/v2/org/multi/blobs/{}", digest(blob))).await;
            assert_eq!(reply.bytes().await.unwrap(), *blob);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_of_an_index() {
    let stage = Stage::new().await;
    let (status, said) = stage.warm(&["--platform", "linux/arm64/v8", "org/multi:v1"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("2 manifests and 2 blobs"), "{said}");
    assert!(has(&stage.root(), stage.arm64.layer()) && !has(&stage.root(), stage.amd64.layer()));
    let (status, said) = stage.warm(&["--platform", "linux/s390x", "org/multi:v1"]);
    assert!(status == 1 && said.contains("no manifest for linux/s390x"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_from_a_file_and_from_standard_input() {
    let stage = Stage::new().await;
    let list = "# what the nodes run\norg/app:v1\n\n  org/multi:only-amd64 # for now\n";
    let file = stage.folder.path().join("list");
    std::fs::write(&file, list).unwrap();
    let (status, said) = stage.warm(&["--from", file.to_str().unwrap()]);
    assert!(status == 0 && said.contains("2 manifests and 5 blobs"), "{said}");
    let (status, said) = stage.warm_with(&["--from", "-"], &[], list);
    assert!(status == 0 && said.contains("nothing to do"), "{said}");
    let (status, said) = stage.warm_with(&["--from", "-"], &[], "org/app:v1\nNot An Image\n");
    assert!(status == 1 && said.contains("Not An Image"), "{said}");
    assert_eq!(stage.warm(&["--from", "/nonexistent"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_listen_and_no_list_is_endless() {
    let stage = Stage::new().await;
    let mut command = Command::new(crate::support::program());
    let command = command
        .env_clear()
        .env("REGISTRY_PROXY_REMOTEURL", stage.upstream.url())
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", stage.root())
        .args(["warm", "org/app:v1", "org/multi:v1"]);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = command.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(has(&stage.root(), stage.arm64.layer()));
    let (status, said) = stage.warm(&["--from", "/dev/zero"]);
    assert!(status == 1 && said.contains("too long"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_do_not_fall_over_each_other() {
    let stage = Stage::new().await;
    stage.upstream.behave(Manners { stalls: true, ..Manners::default() });
    std::thread::scope(|scope| {
        let first = scope.spawn(|| stage.warm(&["org/app:v1"]));
        // The first process has locked the folder, and waits for the upstream.
        while !stage.root().join(".pounce/credentials.json").is_file() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let (status, said) = stage.warm(&["org/app:v1"]);
        assert!(status == 1 && said.contains("another pounce uses"), "{said}");
        stage.upstream.release();
        assert_eq!(first.join().unwrap().0, 0);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_and_the_rest_is_done() {
    let stage = Stage::new().await;
    let (status, said) = stage.warm(&["org/none:v1", "quay.io/org/app", "org/app:v1"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("org/none:v1: ") && said.contains("org/app:v1: copied"), "{said}");
    assert!(said.contains("no upstream for quay.io"), "{said}");
    assert!(said.contains("not everything is in the bucket: 2 failed"), "{said}");
    stage.upstream.behave(Manners { corrupts: true, ..Manners::default() });
    let (status, said) = stage.warm(&["org/multi:only-arm64"]);
    assert!(status == 1 && said.contains("could not be stored"), "{said}");
    assert!(!has(&stage.root(), stage.arm64.layer()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_another_host() {
    let stage = Stage::new().await;
    let url = stage.upstream.url();
    let variables =
        [("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io"), ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &url[..])];
    let (status, said) = stage.warm_with(&["ghcr.io/org/app:v1"], &variables, "");
    assert!(status == 0 && said.contains("copied 3 blobs"), "{said}");
    assert!(stage.root().join("docker/registry/v2/repositories/ghcr.io/org/app").is_dir());
    let (status, said) = stage.warm_with(&["ghcr.io/org/app:v1"], &variables, "");
    assert!(status == 0 && said.contains("nothing to do"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_beside_a_pounce_that_has_the_folder() {
    let stage = Stage::new().await;
    let pounce = Pounce::before(&stage.upstream).await;
    let (root, addr) = (pounce.root(), pounce.addr.to_string());
    let variables =
        [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap()), ("REGISTRY_HTTP_ADDR", &addr[..])];
    let (status, said) = stage.warm_with(&["org/app:v1"], &variables, "");
    assert!(status == 0 && said.contains("copied 3 blobs"), "{said}");
    stage.upstream.forget();
    let layer = digest(stage.image.layer());
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
    assert_eq!(pounce.get(&format!("/v2/org/app/blobs/{layer}")).await.status, 307);
    assert_eq!(stage.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_of_a_build_is_warmed() {
    let stage = Stage::new().await;
    let entry = |media_type: &str, content: &[u8]| json!({"mediaType": media_type, "digest": digest(content), "size": content.len()});
    let mut cache = Image::new(7, &[1000, 2000]);
    let blobs = cache.blobs.clone();
    // A layer, a blob that is called a manifest, a config, and a manifest of an unknown type.
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry("application/vnd.oci.image.layer.v1.tar+gzip", &blobs[1]),
        entry("application/vnd.oci.image.manifest.v1+json", &blobs[2]),
        entry("application/vnd.buildkit.cacheconfig.v0", &blobs[0]),
        entry("application/vnd.example.thing", &stage.image.manifest),
    ]});
    cache.manifest = index.to_string().into();
    OCI_INDEX.clone_into(&mut cache.media_type);
    stage.upstream.add("org/app", "buildcache", &cache);
    let (status, output) = stage.warm(&["org/app:buildcache"]);
    assert_eq!(status, 0, "{output}");
    for content in blobs.iter().chain([&stage.image.manifest, &cache.manifest]) {
        let hex = digest(content).replace("sha256:", "");
        let key = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        assert!(stage.root().join(key).is_file(), "{output}");
    }
    let (status, output) = stage.warm(&["org/app:buildcache"]);
    assert!(status == 0 && output.contains("nothing to do"), "{output}");
    // Content that is neither a blob nor a manifest is reported.
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(OCI_INDEX, b"neither")]});
    stage.upstream.add_manifest("org/app", "broken", OCI_INDEX, index.to_string());
    let (status, output) = stage.warm(&["org/app:broken"]);
    assert!(status == 1 && output.contains(&digest(b"neither")), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_named_as_serve_takes_it() {
    let stage = Stage::new().await;
    let file = |name: &str, text: &str| {
        let path = stage.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, bad) = (file("good.yml", "proxy: {tagttl: 1m}"), file("bad.yaml", "proxy: {tagttll: 1m}"));
    let (status, said) = stage.warm(&[&bad, "org/app:v1"]);
    assert!(status == 1 && said.contains("proxy.tagttll"), "{said}");
    let (status, said) = stage.warm(&[&good, "org/app:v1"]);
    assert!(status == 0 && said.contains("org/app:v1: copied 3 blobs"), "{said}");
    for arguments in [&[&good[..]][..], &[&good, &bad, "org/app:v1"], &[&good, "--config", &bad, "org/app:v1"]] {
        let (status, said) = stage.warm(arguments);
        assert!(status == 1 && (said.contains("name an image") || said.contains("one configuration")), "{said}");
    }
}
