//! The contestants of `benches/peers.toml`, and how they are started.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::tools::{self, free_port};

/// How long a peer may take to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peers {
    peer: Vec<Peer>,
}

/// A program that can be measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    /// The peer whose settings it takes where it has none.
    like: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Its Debian package.
    package: Option<String>,
    scenarios: Vec<String>,
    /// The path that it answers once it is ready.
    ready: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// The values of the placeholders in braces.
pub type Words = BTreeMap<&'static str, String>;

/// A running peer. Dropping the value ends it.
pub struct Running {
    child: Child,
    /// `http://127.0.0.1:port`
    pub url: String,
    folder: TempDir,
    /// The time from its start to its first answer.
    pub took: Duration,
}

/// The peers of a scenario.
pub fn of(scenario: &str) -> Vec<Peer> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../peers.toml");
    let text = fs::read_to_string(path).unwrap();
    let all: Peers = toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let takes_part = |peer: &&Peer| peer.scenarios.iter().any(|it| it == scenario);
    let chosen = all.peer.iter().filter(takes_part);
    chosen.map(|peer| peer.completed(&all.peer)).collect()
}

impl Peer {
    /// The peer, with the settings of the peer that it is like.
    fn completed(&self, all: &[Self]) -> Self {
        let Some(like) = &self.like else {
            return self.clone();
        };
        let other = all.iter().find(|peer| peer.name == *like);
        let other = other.unwrap_or_else(|| panic!("{}: there is no {like}", self.name));
        let Self { mut env, mut files, .. } = other.completed(all);
        env.extend(self.env.clone());
        files.extend(self.files.clone());
        Self {
            name: self.name.clone(),
            scenarios: self.scenarios.clone(),
            command: if self.command.is_empty() { other.command.clone() } else { self.command.clone() },
            package: self.package.clone().or(other.package.clone()),
            ready: self.ready.clone().or(other.ready.clone()),
            like: None,
            env,
            files,
        }
    }

    /// The peer, with one more variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn is_pounce(&self) -> bool {
        self.command[0] == "{pounce}"
    }

    /// The path that it answers once it is ready.
    pub fn ready(&self) -> &str {
        self.ready.as_deref().unwrap_or("/healthz")
    }

    /// Starts it, and waits for its first answer. A start that failed is not tried again, because every round would
    /// wait for it.
    ///
    /// # Errors
    /// It does not start; in a sentence for the table.
    pub async fn start(&self, words: &Words) -> Result<Running, String> {
        static FAILED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
        let failed = FAILED.lock().unwrap().get(&self.name).cloned();
        if let Some(why) = failed {
            return Err(why);
        }
        let started = self.try_start(words).await;
        if let Err(why) = &started {
            FAILED.lock().unwrap().insert(self.name.clone(), why.clone());
        }
        started
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It does not start, or it fails; in a sentence for the table.
    pub fn run(&self, words: &Words) -> Result<(), String> {
        let folder = TempDir::new().unwrap();
        let status = self.command(words, &folder, 0).status();
        let status = status.map_err(|error| self.does_not_start(&error))?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}: {}", last_words(&folder))) }
    }

    async fn try_start(&self, words: &Words) -> Result<Running, String> {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let mut command = self.command(words, &folder, port);
        let began = Instant::now();
        let child = command.spawn().map_err(|error| self.does_not_start(&error))?;
        let url = format!("http://127.0.0.1:{port}");
        let mut running = Running { child, url, folder, took: Duration::ZERO };
        let client = reqwest::Client::new();
        let ready = format!("{}{}", running.url, self.ready());
        while client.get(&ready).send().await.is_err() {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(format!("it ended with {status}: {}", last_words(&running.folder)));
            }
            if began.elapsed() > START_TIMEOUT {
                let seconds = START_TIMEOUT.as_secs();
                return Err(format!("it did not answer within {seconds} s: {}", last_words(&running.folder)));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        running.took = began.elapsed();
        Ok(running)
    }

    fn does_not_start(&self, error: &std::io::Error) -> String {
        let package = self.package.as_deref().unwrap_or("what has it");
        format!("{}: {error}: install {package}", self.command[0])
    }

    /// Its command, with its files written.
    fn command(&self, words: &Words, folder: &TempDir, port: u16) -> Command {
        let mut words = words.clone();
        words.insert("port", port.to_string());
        words.insert("folder", folder.path().display().to_string());
        words.entry("pounce").or_insert_with(|| crate::support::program().display().to_string());
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), filled(text, &words)).unwrap();
        }
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(filled(&self.command[0], &words));
        command.args(self.command[1..].iter().map(|text| filled(text, &words)));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .envs(self.env.iter().map(|(name, text)| (name, filled(text, &words))))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }
}

impl Running {
    /// Resident memory, of its children too, in MiB.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The largest value since [`forget_peak`](Self::forget_peak).
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    pub fn forget_peak(&self) {
        for pid in self.pids() {
            // Where the system forbids it, the peak is that of the whole run.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// Processor time that it has used, of its children too, in seconds.
    pub fn processor(&self) -> f64 {
        let ticks = self.pids().into_iter().map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name may have blanks; the fields after it do not.
            let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
            let fields = rest.split_whitespace().skip(11).take(2);
            fields.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>()
        });
        ticks.sum::<f64>() / 100.0
    }

    /// What it has written to disks so far, in MiB.
    pub fn written(&self) -> f64 {
        let bytes = self.pids().into_iter().map(|pid| {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
            line.and_then(|it| it.trim().parse::<f64>().ok()).unwrap_or_default()
        });
        bytes.sum::<f64>() / 1024.0 / 1024.0
    }

    /// Waits until it is idle, because the next round must not share the machine with it.
    pub async fn until_idle(&self) {
        loop {
            let before = self.processor();
            tokio::time::sleep(Duration::from_millis(200)).await;
            if self.processor() - before < 0.015 {
                return;
            }
        }
    }

    fn pids(&self) -> Vec<u32> {
        tools::pids(&self.child)
    }

    fn status(&self, name: &str) -> f64 {
        let kib = self.pids().into_iter().map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.unwrap_or("0").trim().trim_end_matches(" kB");
            number.parse::<f64>().unwrap_or_default()
        });
        kib.sum::<f64>() / 1024.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        tools::end(&mut self.child);
    }
}

/// The last line of its log.
fn last_words(folder: &TempDir) -> String {
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let line = log.lines().rfind(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it said nothing");
    line.chars().filter(|c| *c != '|').take(160).collect()
}

fn filled(text: &str, words: &Words) -> String {
    let mut text = text.to_owned();
    for (word, value) in words {
        text = text.replace(&format!("{{{word}}}"), value);
    }
    text
}
