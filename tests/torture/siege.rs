//! A fleet that pulls from a registry while an attack on it runs.
//!
//! The attacked registry is a process of its own, and its S3 is another one, so that its memory is its own and no blobs
//! pass through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Client, Outcome};
use super::report::Row;
use crate::support::{Image, Process, Upstream, borrowed};

const NAME: &str = "fleet/image";
/// Nodes that pull images, one after the other.
const NODES: usize = 4;
/// How long a node rests between two pulls.
const REST: Duration = Duration::from_millis(20);
/// One of so many pulls of a node is of an image that was never pulled before.
const COLD: usize = 5;
/// How long the fleet is watched: without the attack, and again during it.
const WATCHED: Duration = Duration::from_secs(8);
/// How long after an attack the process's memory may take to shrink.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// The attacked process's memory limit, in MiB.
const MEMORY: u64 = 256;

/// The attacked registry.
pub struct Target {
    pub process: Process,
    pub upstream: Upstream,
    s3: Process,
    next: Arc<AtomicUsize>,
}

/// The result of an attack.
pub struct Siege {
    pub name: String,
    /// Median seconds of a pull, without the attack and during it.
    pub median: [f64; 2],
    pub pulls: usize,
    /// Failed pulls during the attack.
    pub errors: Vec<String>,
    /// Memory in MiB: before the attack, the peak, and some time afterwards.
    pub memory: [u64; 3],
}

impl Target {
    /// Starts it with these variables, and those that name its bucket and its upstream.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let (s3, upstream) = (Process::start(&[]), Upstream::start().await);
        let bucket = s3.as_s3();
        let url = upstream.url();
        let mut all = borrowed(&bucket);
        all.push(("REGISTRY_PROXY_REMOTEURL", &url));
        all.extend(variables);
        let process = Process::start(&all);
        let next = Arc::default();
        Self { process, upstream, s3, next }
    }

    /// Watches the fleet alone, then during the attack, and drops the attack afterwards.
    pub async fn besiege(&self, name: impl Into<String>, attack: impl Future<Output = ()>) -> Siege {
        // Warms connections and caches.
        self.watch(WATCHED / 4).await;
        let (before, calm) = (self.process.resident(), self.watch(WATCHED).await);
        let watched = async {
            // By now the attack has begun.
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.watch(WATCHED).await
        };
        let pulls = {
            let (mut attack, mut watched) = (std::pin::pin!(attack), std::pin::pin!(watched));
            tokio::select! {
                pulls = watched.as_mut() => pulls,
                () = attack.as_mut() => watched.await,
            }
        };
        tokio::time::sleep(AFTERWARDS).await;
        let median = [median(&calm), median(&pulls)];
        let errors = pulls.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
        Siege {
            name: name.into(),
            median,
            pulls: pulls.len(),
            errors: errors.map(|trouble| format!("{trouble:?}")).collect(),
            memory: [before, self.process.peak(), self.process.resident()],
        }
    }

    /// Each pull's duration and outcome.
    async fn watch(&self, length: Duration) -> Vec<(f64, Outcome)> {
        let until = Instant::now() + length;
        let mut fleet = JoinSet::new();
        for _ in 0..NODES {
            let client = Client::of(&self.process.addr, Duration::from_secs(30));
            let images: Vec<String> = (0..100).map(|_| self.image()).collect();
            fleet.spawn(async move {
                let mut pulls = Vec::new();
                while Instant::now() < until {
                    let tag = &images[pulls.len() / COLD % images.len()];
                    let began = Instant::now();
                    let outcome = client.pull(NAME, tag).await.map(drop);
                    pulls.push((began.elapsed().as_secs_f64(), outcome));
                    tokio::time::sleep(REST).await;
                }
                pulls
            });
        }
        fleet.join_all().await.into_iter().flatten().collect()
    }

    /// The tag of an image that was never pulled.
    fn image(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let tag = format!("v{number}");
        let image = Image::new(number as u64, &[20_000, 5_000, 100]);
        self.upstream.add(NAME, &tag, &image);
        tag
    }
}

fn median(pulls: &[(f64, Outcome)]) -> f64 {
    let mut times: Vec<f64> = pulls.iter().map(|(seconds, _)| *seconds).collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
}

impl Siege {
    /// The result as a row of the table of all faults: no pull may fail, the median may grow by half, and memory has
    /// its limit.
    pub fn row(&self) -> Row {
        let mut row = Row::new(self.to_string());
        (row.injected, row.operations) = (1, self.pulls);
        row.failed.clone_from(&self.errors);
        let [calm, besieged] = self.median;
        if besieged > calm * 1.5 {
            row.failed.push("the median grew by more than half".to_owned());
        }
        let peak = self.memory[1];
        if peak >= MEMORY {
            row.failed.push(format!("{peak} MiB"));
        }
        row
    }
}

impl std::fmt::Display for Siege {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [calm, besieged] = self.median.map(|seconds| seconds * 1000.0);
        let [before, peak, after] = self.memory;
        write!(
            f,
            "{}: {} pulls, {} failed; median {calm:.1} ms, then {besieged:.1}; memory {before} MiB, at most {peak}, \
             then {after}",
            self.name,
            self.pulls,
            self.errors.len()
        )
    }
}
