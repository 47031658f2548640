//! pounce on a port of its own, and a client of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use pounce::Server;
use pounce::config::{Config, Driver, Environment, FillTuning};
use reqwest::header::HeaderMap;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::Upstream;
use super::process::{as_s3, open_to_all};

/// The access log's file, beside the folder with the objects.
const ACCESS_LOG: &str = "access.log";

pub struct Pounce {
    pub addr: SocketAddr,
    debug: SocketAddr,
    /// The S3 that it uses, if it is not over a folder.
    bucket: Option<Box<Self>>,
    folder: TempDir,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
    client: reqwest::Client,
}

/// A response, read to the end of its body if it has one.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// The received bytes of the body.
    pub body: Bytes,
    /// The body is complete.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code in the first error of the body.
    pub fn code(&self) -> String {
        let body: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no error: {self:?}"));
        let error = &body["errors"][0];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        error["code"].as_str().unwrap().to_owned()
    }
}

impl Pounce {
    /// Over a folder of its own, with `upstream`.
    pub async fn before(upstream: &Upstream) -> Self {
        Self::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await
    }

    /// Over an S3 of its own, which is another pounce's folder, with these variables.
    pub async fn with_s3(variables: &[(&str, &str)]) -> Self {
        let bucket = Self::with(&[]).await;
        let s3 = bucket.as_s3();
        let all: Vec<_> = super::borrowed(&s3).into_iter().chain(variables.iter().copied()).collect();
        let mut pounce = Self::with(&all).await;
        pounce.bucket = Some(Box::new(bucket));
        pounce
    }

    /// Over a folder of its own, with these variables.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::tuned(variables, FillTuning::default()).await
    }

    /// [`with`](Self::with), and with what is no setting.
    pub async fn tuned(variables: &[(&str, &str)], tuning: FillTuning) -> Self {
        Self::changed(variables, |config| config.proxy.fill.tuning = tuning).await
    }

    /// [`with`](Self::with), and with values that no setting may have.
    pub async fn changed(variables: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        Self::over(TempDir::new().unwrap(), variables, change).await
    }

    async fn over(folder: TempDir, variables: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let (root, access_log) = (folder.path().join("data"), folder.path().join(ACCESS_LOG));
        let base = [
            ("REGISTRY_LOG_ACCESSLOG_FILE", access_log.to_str().unwrap()),
            ("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
            ("REGISTRY_HTTP_DEBUG_ADDR", "127.0.0.1:0"),
            ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
            ("REGISTRY_HTTP_DRAINTIMEOUT", "5s"),
            // Only the test's own requests cause fills; prefetching has tests of its own.
            ("REGISTRY_PROXY_PREFETCH", "false"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap()),
        ];
        let base = base.into_iter().chain(open_to_all(variables));
        let base: Vec<_> = base.collect();
        // The last value of a variable counts.
        let all: std::collections::BTreeMap<_, _> = base.iter().chain(variables).copied().collect();
        let environment: Environment = all.into_iter().collect();
        let mut config = Config::load(None, &environment).unwrap().config;
        change(&mut config);
        let server = Server::bind(&config).await.unwrap();
        let (addr, debug, stop) = (server.local_addr(), server.debug_addr().unwrap(), CancellationToken::new());
        let task = Some(tokio::spawn(server.run(stop.clone())));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let pounce = Self { addr, debug, bucket: None, folder, stop, task, client };
        if config.storage.driver == Driver::S3 {
            // Wait for the start's own calls to the bucket, so that tests do not count them.
            pounce.until_quiet().await;
        }
        pounce
    }

    /// Shuts down in order, and starts anew over the same folder.
    pub async fn restart(mut self, variables: &[(&str, &str)]) -> Self {
        self.end().await;
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Self::over(folder, variables, |_| ()).await
    }

    /// Requests an orderly shutdown.
    pub fn end_from_outside(&self) {
        self.stop.cancel();
    }

    /// Waits for the orderly shutdown.
    pub async fn end(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    /// Variables for another pounce that uses this one's folder as its S3.
    pub fn as_s3(&self) -> Vec<(&'static str, String)> {
        as_s3(&self.root(), &self.addr.to_string())
    }

    /// The same, with a proxy in between.
    pub fn as_s3_behind(&self, front: SocketAddr) -> Vec<(&'static str, String)> {
        as_s3(&self.root(), &front.to_string())
    }

    /// The file of its access log.
    pub fn access_log(&self) -> PathBuf {
        self.folder.path().join(ACCESS_LOG)
    }

    /// The folder with the objects.
    pub fn root(&self) -> PathBuf {
        self.bucket.as_ref().map_or_else(|| self.folder.path().join("data"), |bucket| bucket.root())
    }

    /// The keys of all objects below the bucket's root.
    pub fn objects(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut directories = vec![self.root().join("docker")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else {
                    let path = entry.path().strip_prefix(self.root()).unwrap().to_owned();
                    keys.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        std::fs::read_dir(self.root().join(".pounce/uploads")).unwrap().count()
    }

    pub fn has_blob(&self, digest: &str) -> bool {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.root().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).is_file()
    }

    /// Waits for work in the background.
    pub async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !reached(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_stored(&self, digest: &str) {
        self.until("the blob is in the bucket", |pounce| pounce.has_blob(digest)).await;
        // The next answer depends on the end of the fill, which comes later.
        self.until_quiet().await;
    }

    /// Waits until no background work is left.
    pub async fn until_quiet(&self) {
        self.until_metric("background_tasks", 0).await;
    }

    pub async fn until_metric(&self, name: &str, value: u64) {
        let began = Instant::now();
        while self.metric(name).await != value {
            assert!(began.elapsed() < Duration::from_secs(20), "{name} never is {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request("GET", path)).await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.send(self.request("HEAD", path)).await
    }

    pub async fn range(&self, path: &str, range: &str) -> Reply {
        self.send(self.request("GET", path).header("range", range)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        match request.send().await {
            Ok(response) => read(response).await,
            // The connection broke before the answer's headers.
            Err(_) => Reply { status: 0, headers: HeaderMap::new(), body: Bytes::new(), whole: false },
        }
    }

    /// Follows a redirect as a client does.
    pub async fn follow(&self, reply: &Reply) -> Reply {
        assert_eq!(reply.status, 307, "{reply:?}");
        self.send(self.client.get(reply.header("location"))).await
    }

    /// The page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        let page = self.client.get(format!("http://{}/metrics", self.debug)).send().await.unwrap();
        page.text().await.unwrap()
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        super::metric(&self.metrics().await, name)
    }
}

impl Drop for Pounce {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn read(response: reqwest::Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let (mut body, mut whole) = (Vec::new(), true);
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(_) => whole = false,
        }
    }
    Reply { status, headers, body: body.into(), whole }
}
