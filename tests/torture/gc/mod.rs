//! Three replicas that push, mount, delete and push again what is condemned, while collectors sweep, and any of these
//! processes is killed or paused.
//!
//! All times of the protocol are a thousandth of the real ones, or as short as dates with seconds allow, so that each
//! round sees batches published and swept. A client that is refused goes on at another replica, and pushes what is not
//! there any more again, as real ones do. After each round a process without caches reads every acknowledged image back
//! whole; at the end, nothing may be left in the bucket that no manifest needs, and nothing be missing that one names.

mod actor;
mod audit;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pounce::Server;
use pounce::config::{Config, Environment, GcTiming};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Trouble};
use super::fillers::pause;
use super::ledger::files;
use super::puller::Addresses;
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::faults::{Fault, Faulty};
use crate::support::image::digest;
use crate::support::process::started;
use crate::support::trace::Trace;
use crate::support::{Image, Pounce, Process, borrowed};
use actor::{Actor, Known, pull};
use audit::{missing, unneeded};

/// The argument by which this program is a replica.
pub const REPLICA: &str = "replica";
/// Says that a replica collects, too.
const COLLECTS: &str = "TORTURE_COLLECTS";
const REPLICAS: usize = 3;
/// Two, so that one goes on where the other one is paused.
const COLLECTORS: usize = 2;
/// How the trace names the processes.
const NAMES: [&str; REPLICAS + COLLECTORS] = ["replica 0", "replica 1", "replica 2", "collector 0", "collector 1"];
const WORLDS: usize = 4;
const CLIENTS: usize = 5;
/// How many images there are in a world: few, so that they are condemned and pushed again often.
const IMAGES: u64 = 8;
const ROUND: Duration = Duration::from_secs(7);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one operation may take, with all its attempts.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long the collectors may take at the end until everything that nothing needs is gone.
const SWEEP: Duration = Duration::from_mins(3);
/// How a line of the trace begins that concerns all repositories.
const EVENT: &str = "*** ";
const FAULTS: [Fault; 5] = [Fault::SlowDown, Fault::Internal, Fault::LostRequest, Fault::LostAnswer, Fault::Cut];

/// Runs so many rounds, shared by several worlds.
pub fn run(rounds: usize, seed: u64) -> Row {
    let worlds = (0..WORLDS.min(rounds)).map(|number| {
        let rounds = (rounds + number) / WORLDS.min(rounds);
        std::thread::spawn(move || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(in_one_world(rounds, seed * 100 + number as u64))
        })
    });
    let worlds: Vec<_> = worlds.collect();
    let mut row =
        Row::new("kill -9 or SIGSTOP of replicas and collectors that sweep what is pushed again, bucket at 1 %");
    let mut swept = 0;
    for world in worlds {
        let (part, gone) = world.join().unwrap();
        row.injected += part.injected;
        row.operations += part.operations;
        row.refused += part.refused;
        row.lost.extend(part.lost);
        row.wrong.extend(part.wrong);
        row.failed.extend(part.failed);
        swept += gone;
    }
    // Writing to a string cannot fail.
    let _ = write!(row.fault, "; {swept} blobs swept");
    if swept == 0 {
        row.failed.push("nothing was ever swept".to_owned());
    }
    row
}

/// The row, and how many blobs were swept.
async fn in_one_world(rounds: usize, seed: u64) -> (Row, usize) {
    let mut world = World::start(seed).await;
    let mut row = Row::new("");
    for _ in 0..rounds {
        world.round(&mut row).await;
    }
    world.end(&mut row).await;
    (row, world.swept)
}

/// Serves until SIGTERM, as `pounce serve` does, with the times of this test.
pub async fn serve() {
    let mut config = Config::load(None, &Environment::of_process()).unwrap().config;
    config.storage.maintenance.gc.enabled = std::env::var_os(COLLECTS).is_some();
    config.storage.maintenance.gc.interval = Duration::from_millis(500);
    config.storage.maintenance.gc.delay = Some(Duration::from_secs(5));
    let [knowledge, belief, present, heartbeat] = [500, 500, 1000, 500].map(Duration::from_millis);
    let [expiry, settle, retire, takeover] = [2, 4, 4, 4].map(Duration::from_secs);
    config.storage.gc_timing = GcTiming { knowledge, belief, present, expiry, settle, retire, heartbeat, takeover };
    let server = Server::bind(&config).await.unwrap();
    let debug = server.debug_addr().unwrap();
    eprintln!("{}", json!({"message": "listening", "addr": server.local_addr(), "debug": debug}));
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let stopped = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stopped.cancel();
    });
    server.run(stop).await;
}

struct World {
    bucket: Process,
    front: Faulty,
    /// Replicas, and then collectors.
    processes: Vec<Option<Process>>,
    /// Where each of them reaches the bucket.
    fronts: Vec<SocketAddr>,
    trace: Arc<Trace>,
    addresses: Addresses,
    dice: Dice,
    seed: u64,
    clients: Vec<Arc<Actor>>,
    /// The blobs that there were at the end of the last round.
    blobs: BTreeSet<PathBuf>,
    swept: usize,
}

impl World {
    async fn start(seed: u64) -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let bucket = Process::over(folder, &[]);
        let trace = Arc::new(Trace::default());
        let mut front = Faulty::noting(&bucket.addr, seed, &trace).await;
        let mut fronts = Vec::new();
        for name in NAMES {
            fronts.push(front.listen(name).await);
        }
        let addresses = Addresses::default();
        *addresses.lock().unwrap() = vec![String::new(); REPLICAS];
        // Layers are shared by images.
        let images = (0..IMAGES).map(|number| {
            let mut image = Image::new(seed * 1000 + number, &[5000]);
            let shared = Image::new(seed * 1000 + number / 2 + 500, &[20_000]);
            image = image.with_layer(shared.layer());
            image
        });
        let images: Arc<Vec<_>> = Arc::new(images.collect());
        let clients = (0..CLIENTS).map(|number| {
            let (name, dice) = (format!("tortured/by-{number}"), Dice::new(seed * 1000 + number as u64));
            Arc::new(Actor::new(name, &addresses, &images, dice, &trace))
        });
        let processes = (0..REPLICAS + COLLECTORS).map(|_| None).collect();
        let (clients, dice) = (clients.collect(), Dice::new(seed));
        let blobs = BTreeSet::new();
        let mut world =
            Self { bucket, front, processes, fronts, trace, addresses, dice, seed, clients, blobs, swept: 0 };
        (0..REPLICAS + COLLECTORS).for_each(|number| world.revive(number));
        world
    }

    fn root(&self) -> PathBuf {
        self.bucket.folder.path().join("data")
    }

    fn revive(&mut self, number: usize) {
        if self.processes[number].is_some() {
            return;
        }
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        started(&mut command, folder.path()).arg(REPLICA).envs(self.bucket.as_s3_behind(self.fronts[number])).envs([
            ("REGISTRY_HTTP_SECRET", "shared"),
            ("REGISTRY_HTTP_DRAINTIMEOUT", "5s"),
            ("REGISTRY_AUTH_ANONYMOUS", "pull,push,delete"),
        ]);
        if number >= REPLICAS {
            command.env(COLLECTS, "1");
        }
        let process = Process::of(command, folder);
        if number < REPLICAS {
            self.addresses.lock().unwrap()[number].clone_from(&process.addr);
        }
        self.processes[number] = Some(process);
    }

    async fn round(&mut self, row: &mut Row) {
        self.front.inject(&FAULTS, 1);
        let mut acting = JoinSet::new();
        for client in &self.clients {
            client.stop.store(false, Ordering::SeqCst);
            acting.spawn(Arc::clone(client).act());
        }
        let began = Instant::now();
        sleep(self.dice.up_to(ROUND / 2)).await;
        self.strike(row).await;
        sleep(ROUND.saturating_sub(began.elapsed())).await;
        for client in &self.clients {
            client.stop.store(true, Ordering::SeqCst);
        }
        for part in acting.join_all().await {
            row.operations += part.operations;
            row.refused += part.refused;
            row.wrong.extend(part.wrong);
            row.failed.extend(part.failed);
        }
        self.front.inject(&[], 0);
        self.verify(row).await;
        let blobs: BTreeSet<_> = files(&self.root().join("docker/registry/v2/blobs")).into_iter().collect();
        self.swept += self.blobs.difference(&blobs).count();
        self.blobs = blobs;
    }

    /// Kills a process or pauses it; a collector more often than a replica.
    async fn strike(&mut self, row: &mut Row) {
        let number =
            if self.dice.percent(60) { REPLICAS + self.dice.index(COLLECTORS) } else { self.dice.index(REPLICAS) };
        row.injected += 1;
        if self.dice.percent(50) {
            self.trace.note(format!("{EVENT}{} is killed", NAMES[number]));
            drop(self.processes[number].take().unwrap().kill());
            self.revive(number);
            self.trace.note(format!("{EVENT}{} is started anew", NAMES[number]));
        } else {
            let length = Duration::from_millis(500) + self.dice.up_to(Duration::from_secs(9));
            self.trace.note(format!("{EVENT}{} is paused for {length:?}", NAMES[number]));
            pause(self.processes[number].as_ref().unwrap().pid(), length).await;
            self.trace.note(format!("{EVENT}{} goes on", NAMES[number]));
        }
    }

    /// Reads everything that was acknowledged, as a process without caches sees it.
    async fn verify(&self, row: &mut Row) {
        let fresh = Pounce::with(&borrowed(&self.bucket.as_s3())).await;
        let client = Client::of(fresh.addr, PATIENCE);
        for actor in &self.clients {
            let Known { tags, deleted, raced } = actor.known.lock().unwrap().clone();
            for (tag, wanted) in tags {
                let what = format!("{}:{tag}, {wanted}", actor.name);
                self.trace.note(format!("{EVENT}verify {what}"));
                let read = pull(&client, &actor.name, &tag, &deleted).await;
                let read = read.and_then(|bytes| {
                    if digest(&bytes) == wanted {
                        Ok(())
                    } else {
                        Err(Trouble::Wrong(format!("it is {}", digest(&bytes))))
                    }
                });
                let lost = row.lost.len();
                row.count_acknowledged(&what, read);
                if row.lost.len() > lost {
                    self.show(&what, actor);
                }
            }
            for (tag, digest) in raced {
                let what = format!("{}:{tag}, which was pushed and deleted at once, {digest}", actor.name);
                self.trace.note(format!("{EVENT}verify {what}"));
                row.operations += 1;
                let there = client.manifest(&actor.name, &digest).await;
                let tagged = client.manifest(&actor.name, &tag).await;
                if there.is_ok() != tagged.is_ok() {
                    row.lost.push(format!("{what}: {there:?}, {tagged:?}"));
                    self.show(&what, actor);
                }
            }
        }
    }

    /// Where a run of many rounds loses something, its way is all that can be looked at.
    fn show(&self, what: &str, actor: &Actor) {
        eprintln!("lost {what}:\n{}", self.trace.with(&[EVENT, &actor.name]));
    }

    /// Waits until everything that nothing needs is gone, and ends the processes.
    async fn end(&mut self, row: &mut Row) {
        let began = Instant::now();
        let mut left = unneeded(&self.root());
        while !left.is_empty() && began.elapsed() < SWEEP {
            sleep(Duration::from_millis(500)).await;
            left = unneeded(&self.root());
        }
        if !left.is_empty() {
            row.wrong.push(format!("after {SWEEP:?}, these are left: {left:?}"));
        }
        self.verify(row).await;
        row.lost.extend(missing(&self.root()));
        for process in self.processes.iter_mut().filter_map(Option::take) {
            process.terminate();
            let (status, log) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
            if status != 0 || log.contains("panicked") {
                row.failed.push(format!("it ended with {status}: {log}"));
            }
        }
        eprintln!("world {}: {} blobs swept", self.seed, self.swept);
    }
}
