//! A fleet of nodes that pull one image at once, over links with a limit.
//!
//! Nodes are network namespaces. The upstream is 80 ms away, with 25 MB/s a connection and 100 MB/s in all; the bucket
//! is 10 ms away and has no limit; each node has 25 MB/s. The servers run in a namespace of their own, the hub. This
//! process is the client of all nodes, because twenty processes would be more than the machine can run.
//!
//! Run with all scenarios, it measures what the aims are about, with 1 and with 20 nodes. Run by its name, it measures
//! every cell of its table.

mod bucket;
pub mod client;
mod head;
mod image;
mod network;
mod pull;
mod sheet;
pub mod upstream;

use std::fmt::{self, Display};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bucket::Bucket;
use image::{Image, NAME, TAG};
use network::{HUB_ADDRESS, Network};
use pull::{Pull, pull};
use sheet::{Cell, Sheet};
use upstream::{FAR, Limits, UNLIMITED, Upstream};

use crate::cold::containerd::Containerd;
use crate::peers::{self, Peer, Running, Words};
use crate::report::Report;

/// Numbers of nodes: of a run by name, and of a run with all scenarios.
const ALL: [usize; 4] = [1, 5, 10, 20];
const FEW: [usize; 2] = [1, 20];
/// The largest of them.
const MOST: usize = 20;
/// The nodes where a replica is killed, and the share of all bytes that they have at that moment.
const KILLED: usize = 10;
const KILLED_AT: f64 = 0.4;

const DIRECT: &str = "the upstream itself";
const COLD: &str = "pounce cold";
const WARM: &str = "pounce warm";
const WARMED: &str = "pounce after `pounce warm`";

/// How a layer is pulled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Ranges,
    /// By containerd, which also unpacks it.
    Containerd,
}

impl Display for Way {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Whole => "whole",
            Self::Ranges => "in ranges",
            Self::Containerd => "by containerd",
        })
    }
}

/// What all cells share.
struct Fleet {
    image: Arc<Image>,
    network: Network,
    /// Every cell of the table, instead of those of the aims.
    full: bool,
    sheet: Sheet,
}

/// Measures; the section of the document, if every cell was measured.
pub fn measure(report: &mut Report, full: bool) -> Option<String> {
    let scenario = "fleet of 20 nodes, image of 400 MB, whole: the last node has it";
    let network = match Network::build(MOST) {
        Ok(network) => network,
        Err(why) => {
            network::remove_all();
            report.add(scenario, COLD, "s", Err(why));
            return None;
        }
    };
    // For the rest of the run, because tokio keeps the system's own reaction to the signal off from now on.
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            network::remove_all();
            std::process::exit(130);
        }
    });
    let mut fleet = Fleet { image: Arc::new(Image::build()), network, full, sheet: Sheet::default() };
    // Its threads are in the hub, and so are the servers that they start.
    thread::scope(|scope| {
        let hub = scope.spawn(|| {
            network::enter_hub();
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.enable_all().on_thread_start(network::enter_hub).build().unwrap();
            runtime.block_on(fleet.measure());
        });
        hub.join().unwrap();
    });
    let others = peers::of("fleet").into_iter().skip(1).map(|peer| peer.name);
    for contestant in [COLD, WARM, WARMED, DIRECT].map(str::to_owned).into_iter().chain(others) {
        if let Some(cell) = fleet.sheet.cell(&contestant, Way::Whole, MOST) {
            report.one(scenario, &contestant, "s", cell.seconds);
            report.one(&format!("{scenario}: bytes from the upstream"), &contestant, "× the image", cell.upstream);
            if let Some(peak) = cell.peak {
                report.one(&format!("{scenario}: peak memory"), &contestant, "MiB", peak);
            }
        }
    }
    full.then(|| fleet.sheet.section())
}

impl Fleet {
    async fn measure(&mut self) {
        let peers = peers::of("fleet");
        let [pounce, others @ ..] = &peers[..] else { unreachable!("benches/peers.toml has pounce first") };
        if self.full {
            self.ceiling(pounce).await;
        }
        for nodes in if self.full { &ALL[..] } else { &FEW[..] } {
            for way in [Way::Whole, Way::Ranges] {
                // In ranges, the others have the most nodes only, because that takes minutes.
                let others_too = way == Way::Whole || (self.full && *nodes == MOST);
                if others_too || self.full || *nodes == MOST {
                    self.cold_and_warm(pounce, way, *nodes).await;
                }
                if others_too {
                    self.direct(way, *nodes).await;
                    for other in others {
                        self.cold(other, way, *nodes).await;
                    }
                }
            }
        }
        self.warmed(pounce).await;
        self.replica_killed(pounce).await;
        if self.full {
            self.containerd(pounce).await;
        }
    }

    /// What harness and machine can do without any limit, so that a reader sees what the limits are worth.
    async fn ceiling(&mut self, pounce: &Peer) {
        self.network.lift().unwrap();
        let upstream = self.upstream(UNLIMITED).await;
        let cell = self.cell(Way::Whole, MOST, vec![upstream.address.clone()], &upstream, None);
        self.sheet.add("the upstream itself, without limits", Way::Whole, MOST, cell);
        let bucket = Bucket::start().await;
        let words = bucket.words(&upstream.address);
        let cell = async {
            warm(&words)?;
            let running = pounce.start(&words).await?;
            self.cell(Way::Whole, MOST, vec![address(&running)], &upstream, Some(&running))
        };
        let cell = cell.await;
        self.sheet.add("pounce warm, without limits", Way::Whole, MOST, cell);
        self.network.limit().unwrap();
    }

    async fn upstream(&self, limits: Limits) -> Upstream {
        Upstream::start(HUB_ADDRESS, self.image.clone(), limits).await
    }

    async fn direct(&mut self, way: Way, nodes: usize) {
        let upstream = self.upstream(FAR).await;
        let cell = self.cell(way, nodes, vec![upstream.address.clone()], &upstream, None);
        self.sheet.add(DIRECT, way, nodes, cell);
    }

    /// A pull with an empty bucket, and the same again.
    async fn cold_and_warm(&mut self, pounce: &Peer, way: Way, nodes: usize) {
        let (upstream, bucket) = (self.upstream(FAR).await, Bucket::start().await);
        let running = match pounce.start(&bucket.words(&upstream.address)).await {
            Ok(running) => running,
            Err(why) => return self.sheet.add(COLD, way, nodes, Err(why)),
        };
        let registries = vec![address(&running)];
        let cell = self.cell(way, nodes, registries.clone(), &upstream, Some(&running));
        self.sheet.add(COLD, way, nodes, cell);
        // A warm pull in ranges is one of the bucket: with the most nodes only.
        if way == Way::Whole || (self.full && nodes == MOST) {
            running.until_idle().await;
            let cell = self.cell(way, nodes, registries, &upstream, Some(&running));
            self.sheet.add(WARM, way, nodes, cell);
        }
    }

    async fn cold(&mut self, peer: &Peer, way: Way, nodes: usize) {
        let (upstream, bucket) = (self.upstream(FAR).await, Bucket::start().await);
        let cell = match peer.start(&bucket.words(&upstream.address)).await {
            Ok(running) => self.cell(way, nodes, vec![address(&running)], &upstream, Some(&running)),
            Err(why) => Err(why),
        };
        self.sheet.add(&peer.name, way, nodes, cell);
    }

    /// Another pounce has filled the bucket.
    async fn warmed(&mut self, pounce: &Peer) {
        let (upstream, bucket) = (self.upstream(FAR).await, Bucket::start().await);
        let words = bucket.words(&upstream.address);
        let cell = async {
            warm(&words)?;
            let running = pounce.start(&words).await?;
            self.cell(Way::Whole, MOST, vec![address(&running)], &upstream, Some(&running))
        };
        let cell = cell.await;
        self.sheet.add(WARMED, Way::Whole, MOST, cell);
    }

    /// Two replicas with one bucket, one of which is killed in the middle of a cold pull.
    async fn replica_killed(&mut self, pounce: &Peer) {
        let (upstream, bucket) = (self.upstream(FAR).await, Bucket::start().await);
        let words = bucket.words(&upstream.address);
        let contestant = "pounce cold, one of two replicas killed";
        let started = async { Ok::<_, String>((pounce.start(&words).await?, pounce.start(&words).await?)) };
        let (killed, left) = match started.await {
            Ok(both) => both,
            Err(why) => return self.sheet.add(contestant, Way::Whole, KILLED, Err(why)),
        };
        let (progress, registries) = (AtomicU64::new(0), vec![address(&killed), address(&left)]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (self.image.size() as f64 * KILLED as f64 * KILLED_AT) as u64;
        let cell = thread::scope(|scope| {
            scope.spawn(|| {
                while progress.load(Ordering::Relaxed) < at {
                    thread::sleep(Duration::from_millis(20));
                }
                drop(killed);
            });
            let cell = self.cell_of(Way::Whole, KILLED, registries, &upstream, Some(&left), &progress);
            // A pull that failed early ends the wait, too.
            progress.store(u64::MAX, Ordering::Relaxed);
            cell
        });
        self.sheet.add(contestant, Way::Whole, KILLED, cell);
    }

    /// One node with a real containerd.
    async fn containerd(&mut self, pounce: &Peer) {
        let upstream = self.upstream(FAR).await;
        let cell = self.by_containerd(&upstream.address, &upstream, None);
        self.sheet.add(DIRECT, Way::Containerd, 1, cell);
        let (upstream, bucket) = (self.upstream(FAR).await, Bucket::start().await);
        let running = match pounce.start(&bucket.words(&upstream.address)).await {
            Ok(running) => running,
            Err(why) => return self.sheet.add(COLD, Way::Containerd, 1, Err(why)),
        };
        let cell = self.by_containerd(&address(&running), &upstream, Some(&running));
        self.sheet.add(COLD, Way::Containerd, 1, cell);
        running.until_idle().await;
        let cell = self.by_containerd(&address(&running), &upstream, Some(&running));
        self.sheet.add(WARM, Way::Containerd, 1, cell);
    }

    fn by_containerd(&self, registry: &str, upstream: &Upstream, running: Option<&Running>) -> Result<Cell, String> {
        let image = format!("{registry}/{NAME}:{TAG}");
        let pulled = || -> Result<(f64, u64), String> {
            let node = thread::spawn(move || {
                // containerd and ctr, which fetches by itself, are in the node as this thread is.
                network::enter_node(0);
                Containerd::start().map(|containerd| containerd.pull(&image))
            });
            let seconds = node.join().map_err(|_| "ctr cannot pull".to_owned())?;
            Ok((seconds.ok_or("containerd does not run here")?, 0))
        };
        self.figures(upstream, running, pulled)
    }

    fn cell(
        &self,
        way: Way,
        nodes: usize,
        registries: Vec<String>,
        upstream: &Upstream,
        running: Option<&Running>,
    ) -> Result<Cell, String> {
        self.cell_of(way, nodes, registries, upstream, running, &AtomicU64::new(0))
    }

    fn cell_of(
        &self,
        way: Way,
        nodes: usize,
        registries: Vec<String>,
        upstream: &Upstream,
        running: Option<&Running>,
        progress: &AtomicU64,
    ) -> Result<Cell, String> {
        let what = Pull { image: &self.image, registries, ranged: way == Way::Ranges, progress };
        self.figures(upstream, running, || pull(nodes, &what).map(|pulled| (pulled.seconds, pulled.repeated)))
    }

    /// Runs a pull, which returns its seconds and how many requests were repeated, and measures beside it.
    fn figures(
        &self,
        upstream: &Upstream,
        running: Option<&Running>,
        pull: impl FnOnce() -> Result<(f64, u64), String>,
    ) -> Result<Cell, String> {
        let (sent, (busy, all)) = (upstream.sent(), processors());
        if let Some(running) = running {
            running.forget_peak();
        }
        let (seconds, repeated) = pull()?;
        let (busy, all) = (processors().0 - busy, processors().1 - all);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let upstream = (upstream.sent() - sent) as f64 / self.image.size() as f64;
        Ok(Cell { seconds, upstream, peak: running.map(Running::peak), busy: busy / all, repeated })
    }
}

/// Runs `pounce warm`.
fn warm(words: &Words) -> Result<(), String> {
    let mut peers = peers::of("fleet-warm").into_iter();
    peers.next().ok_or("benches/peers.toml has no peer that warms")?.run(words)
}

/// Host and port for the nodes.
fn address(running: &Running) -> String {
    let (_, port) = running.url.rsplit_once(':').unwrap();
    format!("{HUB_ADDRESS}:{port}")
}

/// The time of all processors since the machine's start: busy, and in all.
fn processors() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|it| it.parse().ok()).collect();
    let (all, idle): (f64, f64) = (ticks.iter().take(8).sum(), ticks.iter().skip(3).take(2).sum());
    (all - idle, all)
}
