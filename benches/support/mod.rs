//! What the benches share: peers, and the figures of the machine.
#![allow(dead_code, reason = "each bench uses a part")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A program that ends with the value.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends the bench if a program is missing; each comes with its Debian package.
pub fn require(programs: &[(&str, &str)]) {
    for (program, package) in programs {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            eprintln!("{program} is missing: apt-get install {package}");
            std::process::exit(1);
        }
    }
}

/// Debian's `docker-registry`, with these sections in its configuration: the process, its URL, and its
/// folder, in which `log` is its log.
pub async fn start_distribution(sections: &str) -> (Running, String, TempDir) {
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let sections = sections.replace("FOLDER", folder.path().to_str().unwrap());
    let config = format!("version: 0.1\nhttp:\n  addr: 127.0.0.1:{port}\n{sections}");
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let log = File::create(folder.path().join("log")).unwrap();
    let mut registry = Command::new("docker-registry");
    // Its SDK stops at start over a bundle of certificates.
    registry.env_remove("AWS_CA_BUNDLE");
    registry.arg("serve").arg(folder.path().join("config.yml"));
    let registry = registry.stdout(log.try_clone().unwrap()).stderr(log);
    let registry = Running(registry.spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    until_up(&format!("{url}/v2/")).await;
    (registry, url, folder)
}

/// What one round has left to be written must not slow the next one down.
pub fn flush() {
    assert!(Command::new("sync").status().unwrap().success());
}

/// Has `bytes` of memory before the clock runs: a virtual machine's host takes back what nobody uses, and to
/// give it again takes longer than a pull.
pub fn touch_memory(bytes: usize) {
    let folder = TempDir::new().unwrap();
    let mut file = File::create(folder.path().join("touched")).unwrap();
    let some = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        std::io::Write::write_all(&mut file, &some).unwrap();
    }
}

/// MiB, as the kernel counts resident memory.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() / 1024
}

pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub async fn until_up(url: &str) {
    let began = Instant::now();
    while reqwest::get(url).await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{url} does not come up"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{cores} cores of {}",
        model.trim_start_matches([' ', '\t', ':'])
    )
}
