//! An image with real layers, pulled by containerd.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::origin::Origin;
use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::tools::Running;

/// A containerd with folders of its own.
pub struct Containerd {
    _process: Running,
    folder: TempDir,
}

impl Containerd {
    /// `None` where containerd is missing or cannot run.
    pub fn start() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let root = folder.path().display();
        let config = format!(
            "version=2\nroot=\"{root}/cd\"\nstate=\"{root}/cdstate\"\n\
             disabled_plugins=[\"io.containerd.grpc.v1.cri\"]\n[grpc]\n address=\"{root}/c.sock\"\n"
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let mut command = Command::new("containerd");
        command.arg("-c").arg(folder.path().join("config.toml"));
        let process = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
        let containerd = Self { _process: process, folder };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if containerd.ctr(&["version"]) {
                return Some(containerd);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Pulls, three layers at once as Kubernetes' nodes do; the seconds that it took.
    pub fn pull(&self, image: &str) -> f64 {
        let began = Instant::now();
        let pull = ["i", "pull", "--plain-http", "--max-concurrent-downloads", "3", image];
        assert!(self.ctr(&pull), "ctr cannot pull {image}");
        began.elapsed().as_secs_f64()
    }

    pub fn remove(&self, image: &str) {
        assert!(self.ctr(&["i", "rm", "--sync", image]));
        assert!(self.ctr(&["content", "prune", "references"]));
    }

    fn ctr(&self, arguments: &[&str]) -> bool {
        let socket: PathBuf = self.folder.path().join("c.sock");
        let mut ctr = Command::new("ctr");
        let ctr = ctr.arg("-a").arg(socket).args(arguments);
        let status = ctr.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

/// Adds `bench/image:1`: each layer is a tar with a file of noise.
pub fn add_image(origin: &Origin, layers: u64, bytes: usize) {
    let folder = TempDir::new().unwrap();
    let layers: Vec<Vec<u8>> = (0..layers)
        .map(|layer| {
            let name = format!("file{layer}");
            fs::write(folder.path().join(&name), noise(9_000 + layer, bytes)).unwrap();
            let mut tar = Command::new("tar");
            let tar = tar.arg("-C").arg(folder.path()).args(["-cf", "-", &name]).output();
            tar.unwrap().stdout
        })
        .collect();
    let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": digests}});
    let config = config.to_string().into_bytes();
    let descriptor = |media_type: &str, blob: &[u8]| json!({"mediaType": media_type, "digest": origin.add("bench/image", blob), "size": blob.len()});
    let listed: Vec<_> =
        layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer)).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": listed});
    origin.tag("bench/image", "1", manifest.to_string().as_bytes());
}
