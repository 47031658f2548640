//! The upstream: Debian's `docker-registry` over a folder in its layout, and an nginx in front that caps each
//! connection.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::image::{digest, noise};
use crate::tools::{self, Running, free_port, until_up};

/// nginx's cap for one connection, in bytes a second.
pub const PER_CONNECTION: u64 = 40_000_000;

pub struct Origin {
    _registry: Running,
    _nginx: Running,
    folder: TempDir,
    /// Host and port.
    pub straight: String,
    pub per_connection: String,
}

impl Origin {
    pub async fn start() -> Self {
        let (registry, straight, folder) = tools::start_distribution().await;
        let port = free_port();
        let config = format!(
            "daemon off; worker_processes auto; user root; pid {root}/nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; sendfile on;\n\
             server {{ listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass {straight}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_max_temp_file_size 0; limit_rate {PER_CONNECTION}; }}\n\
             location /static/ {{ alias {root}/static/; }} }} }}\n",
            root = folder.path().display()
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", "stderr", "-c"]);
        nginx.arg(folder.path().join("nginx.conf"));
        let nginx = Running::start(nginx.stderr(Stdio::null()));
        let per_connection = format!("127.0.0.1:{port}");
        until_up(&format!("http://{per_connection}/v2/")).await;
        fs::create_dir(folder.path().join("static")).unwrap();
        Self {
            _registry: registry,
            _nginx: nginx,
            folder,
            straight: straight.trim_start_matches("http://").to_owned(),
            per_connection,
        }
    }

    /// A blob of noise in the repository `bench/blob`; its path.
    pub fn blob(&self, seed: u64, size: usize) -> String {
        let digest = self.add("bench/blob", &noise(seed, size));
        format!("/v2/bench/blob/blobs/{digest}")
    }

    /// Links the blob of such a path to a file that nginx serves; its URL.
    pub fn as_file(&self, path: &str) -> String {
        let hex = path.rsplit(':').next().unwrap();
        let from = self.data().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
        fs::hard_link(from, self.folder.path().join("static").join(hex)).unwrap();
        format!("http://{}/static/{hex}", self.per_connection)
    }

    /// Writes a blob in distribution's layout; its digest.
    pub fn add(&self, repository: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let hex = digest.trim_start_matches("sha256:");
        write(&self.data().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])), content);
        let link = format!("repositories/{repository}/_layers/sha256/{hex}/link");
        write(&self.data().join(link), digest.as_bytes());
        digest
    }

    /// Writes a manifest, and a tag for it.
    pub fn tag(&self, repository: &str, tag: &str, manifest: &[u8]) {
        let digest = self.add(repository, manifest);
        let hex = digest.trim_start_matches("sha256:");
        let manifests = self.data().join(format!("repositories/{repository}/_manifests"));
        for link in [
            format!("revisions/sha256/{hex}/link"),
            format!("tags/{tag}/current/link"),
            format!("tags/{tag}/index/sha256/{hex}/link"),
        ] {
            write(&manifests.join(link), digest.as_bytes());
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data/docker/registry/v2")
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
