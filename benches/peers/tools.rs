//! Processes, folders and the machine; and how rounds are kept apart.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A process that ends when the value is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// The ids of a process and of its children.
pub fn pids(child: &Child) -> Vec<u32> {
    let own = child.id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|it| it.parse().ok());
    std::iter::once(own).chain(children).collect()
}

/// Ends a process: by SIGTERM where it has children to end, as nginx has. Others get SIGKILL, because they would wait
/// for idle connections first.
pub fn end(child: &mut Child) {
    if let Ok(Some(_)) = child.try_wait() {
        return;
    }
    if pids(child).len() > 1 {
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(2) {
            if let Ok(Some(_)) = child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The first program that is missing, in a sentence. Each is given with its Debian package.
pub fn missing(programs: &[(&str, &str)]) -> Option<String> {
    let is_missing = |program: &str| {
        let mut command = Command::new(program);
        let silent = command.arg("--version").stdout(Stdio::null());
        silent.stderr(Stdio::null()).status().is_err()
    };
    let mut programs = programs.iter();
    let (program, package) = programs.find(|(program, _)| is_missing(program))?;
    Some(format!("{program} is missing: install {package}"))
}

/// A temporary folder for so many bytes, in memory where that is free: on a disk, creating and removing the data of a
/// scenario would take longer than measuring it.
pub fn folder(bytes: u64) -> TempDir {
    const IN_MEMORY: &str = "/dev/shm";
    let free = rustix::fs::statvfs(IN_MEMORY);
    // Twice as much, because contestants need memory, too.
    if free.is_ok_and(|free| free.f_bavail * free.f_frsize > 2 * bytes) {
        TempDir::new_in(IN_MEMORY).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

/// Debian's `docker-registry` over a folder of its own: the process, its URL, and that folder.
pub async fn start_distribution() -> (Running, String, TempDir) {
    let (folder, port) = (folder(4 << 30), free_port());
    let root = folder.path().join("data");
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
        root.display()
    );
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut registry = Command::new("docker-registry");
    registry.arg("serve").arg(folder.path().join("config.yml"));
    let registry = registry.stdout(Stdio::null()).stderr(Stdio::null());
    let registry = Running::start(registry);
    let url = format!("http://127.0.0.1:{port}");
    until_up(&format!("{url}/v2/")).await;
    (registry, url, folder)
}

/// Writes out the dirty pages of a round, so that they do not slow the next one down.
pub fn flush() {
    assert!(Command::new("sync").status().unwrap().success());
}

/// Touches `bytes` of memory before the clock starts. The host of a virtual machine takes back unused memory, and
/// giving it again takes longer than a pull.
pub fn touch_memory(bytes: usize) {
    let folder = TempDir::new().unwrap();
    let mut file = File::create(folder.path().join("touched")).unwrap();
    let some = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        std::io::Write::write_all(&mut file, &some).unwrap();
    }
}

/// The median.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let (upper, lower) = (seconds.len() / 2, (seconds.len() - 1) / 2);
    f64::midpoint(seconds[lower], seconds[upper])
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub async fn until_up(url: &str) {
    let began = Instant::now();
    while reqwest::get(url).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{url} does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}
