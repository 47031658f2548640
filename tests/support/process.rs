//! The program as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tempfile::TempDir;

/// A running `pounce serve`; dropping it kills it.
pub struct Process {
    child: Child,
    /// Its log, line by line. A thread reads it, because a full pipe would stop the process.
    log: Receiver<String>,
    pub folder: TempDir,
    /// The log lines read so far.
    pub seen: String,
    pub addr: String,
    pub debug: String,
}

/// `pounce serve` over a folder, with a JSON log and ports that the system chooses.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(super::program());
    started(&mut command, folder).arg("serve");
    command
}

/// A command with the variables and pipes of a [`Process`].
pub fn started<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
    command.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0").env("REGISTRY_LOG_FORMATTER", "json");
    command.env("REGISTRY_HTTP_DEBUG_ADDR", "127.0.0.1:0");
    command.env("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true");
    command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.join("data"));
    command
}

impl Process {
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::over(TempDir::new().unwrap(), variables)
    }

    /// Over a folder that another process may have used.
    pub fn over(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = command(folder.path());
        command.envs(open_to_all(variables)).envs(variables.iter().copied());
        Self::of(command, folder)
    }

    /// A program that says "listening" as `pounce serve` does.
    pub fn of(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let (addr, debug) = (String::new(), String::new());
        let mut process = Self { child, log, folder, seen: String::new(), addr, debug };
        let line = process.until("listening");
        (process.addr, process.debug) = (said(&line, "addr"), said(&line, "debug"));
        process
    }

    /// Reads the log up to a line with this text.
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.log.recv_timeout(Duration::from_secs(20)) else {
                panic!("the log does not come to {text}: {}", self.seen);
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Variables for another pounce that uses this one's folder as its S3.
    pub fn as_s3(&self) -> Vec<(&'static str, String)> {
        as_s3(&self.folder.path().join("data"), &self.addr)
    }

    /// The same, with a proxy in between.
    pub fn as_s3_behind(&self, front: SocketAddr) -> Vec<(&'static str, String)> {
        as_s3(&self.folder.path().join("data"), &front.to_string())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = reqwest::get(format!("http://{}/metrics", self.debug)).await.unwrap();
        super::metric(&page.text().await.unwrap(), name)
    }

    /// Waits until no background work is left.
    pub async fn until_quiet(&self) {
        let began = Instant::now();
        while self.metric("background_tasks").await > 0 {
            assert!(began.elapsed() < Duration::from_mins(1), "never quiet");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its peak memory (`VmHWM`), in MiB.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// Its memory now (`VmRSS`), in MiB.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    }

    pub fn terminate(&self) {
        Command::new("kill").arg(self.pid().to_string()).status().unwrap();
    }

    /// Sends SIGKILL; returns its folder.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    /// Waits for its exit; its exit status, and its whole log.
    pub fn end(mut self) -> (i32, String) {
        while let Ok(line) = self.log.recv_timeout(Duration::from_secs(20)) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        (self.child.wait().unwrap().code().unwrap(), std::mem::take(&mut self.seen))
    }
}

/// Fills a pipe, so that the next write to it waits for a reader.
pub fn fill(pipe: impl AsFd) {
    let flags = rustix::fs::fcntl_getfl(&pipe).unwrap();
    rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK).unwrap();
    for bytes in [&[b'x'; 4096][..], b"x"] {
        while rustix::io::write(&pipe, bytes).is_ok() {}
    }
    // The flag is shared by all that have the pipe open.
    rustix::fs::fcntl_setfl(&pipe, flags).unwrap();
}

/// Variables for a pounce whose S3 is the folder of another one, which listens on `addr`.
pub fn as_s3(root: &Path, addr: &str) -> Vec<(&'static str, String)> {
    let keys = std::fs::read(root.join(".pounce/credentials.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
    let text = |key: &str| keys[key].as_str().unwrap().to_owned();
    vec![
        ("REGISTRY_STORAGE", "s3".into()),
        ("REGISTRY_STORAGE_S3_BUCKET", "pounce".into()),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", format!("http://{addr}")),
        ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true".into()),
        ("REGISTRY_STORAGE_S3_REGION", "auto".into()),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", text("accesskey")),
        ("REGISTRY_STORAGE_S3_SECRETKEY", text("secretkey")),
    ]
}

/// The setting with which a test may push to a registry with an upstream, unless its variables configure access.
pub fn open_to_all(variables: &[(&str, &str)]) -> Option<(&'static str, &'static str)> {
    let says = |(name, _): &(&str, &str)| name.starts_with("REGISTRY_AUTH");
    let open = ("REGISTRY_AUTH_ANONYMOUS", "pull,push,delete");
    (!variables.iter().any(says)).then_some(open)
}

/// The variables, borrowed.
pub fn borrowed<N: AsRef<str>>(variables: &[(N, String)]) -> Vec<(&str, &str)> {
    let pairs = variables.iter();
    pairs.map(|(name, value)| (name.as_ref(), &value[..])).collect()
}

/// The address under this name in a line of the log, in either format.
fn said(line: &str, name: &str) -> String {
    let quoted = |c: char| c == '"' || c == ':' || c == '=';
    let (_, rest) = line.split_once(name).unwrap();
    let rest = rest.trim_start_matches(quoted);
    let end = rest.find(['"', ' ']).unwrap();
    rest[..end].to_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
