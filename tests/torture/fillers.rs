//! Three replicas that share fills, while the one that fills is killed, paused or ended.
//!
//! In each round five clients pull one cold blob of several chunks, whole and in ranges, at all replicas. The first one
//! asks alone, so that its replica fills; then the fault comes at a random moment. A client goes on by Range at another
//! replica where an answer breaks off. Several worlds, each with a bucket and an upstream of its own, have rounds at
//! the same time, because rounds mostly wait.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::{Client, Outcome, Trouble, with_retries};
use super::kills::SWEEPING;
use super::ledger::{audit, files, leftovers};
use super::puller::{Addresses, Puller};
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::faults::{Fault, Faulty};
use crate::support::image::digest;
use crate::support::ranged::{Form, Shape};
use crate::support::upstream::Manners;
use crate::support::{Image, Process, Upstream, borrowed};

const NAME: &str = "tortured/shared";
/// Large enough to be shared by default, and five chunks.
const SIZE: usize = 72 << 20;
/// 3 MB/s a connection: a fill takes some three seconds.
const PACE: Duration = Duration::from_millis(20);
/// The latest moment of the fault.
const FILL: Duration = Duration::from_millis(3500);
const REPLICAS: usize = 3;
/// Worlds at the same time.
const WORLDS: usize = 5;
/// How long a client may take: a paused filler, the death of its lease, and the blob once more from the beginning.
const DEADLINE: Duration = Duration::from_mins(4);
/// The faults of a bucket "at 5 %": five of all requests at 1 % each; the others fit some requests only.
const FAULTS: [Fault; 7] = [
    Fault::SlowDown,
    Fault::Internal,
    Fault::LostRequest,
    Fault::LostAnswer,
    Fault::Cut,
    Fault::LostComplete,
    Fault::Lag,
];

/// What happens to the replica that fills, or to what it reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `kill -9`, with a faulty bucket.
    Kill,
    /// SIGSTOP for 5 to 40 s, then SIGCONT, with a faulty bucket.
    Pause,
    /// SIGTERM.
    Terminate,
    /// The bucket shows writes a second late.
    Late,
    /// The upstream lies until a random moment; in every other round the filler is paused then.
    Lie,
}

impl Act {
    pub const ALL: [Self; 5] = [Self::Kill, Self::Pause, Self::Terminate, Self::Late, Self::Lie];

    const fn describe(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the filler, three replicas, bucket at 5 %",
            Self::Pause => "SIGSTOP of the filler for 5 to 40 s, then SIGCONT, three replicas, bucket at 5 %",
            Self::Terminate => "SIGTERM of the filler, three replicas",
            Self::Late => "the bucket shows writes a second late, three replicas",
            Self::Lie => "an upstream lies to the filler, three replicas",
        }
    }
}

/// Runs so many rounds, shared by several worlds.
pub fn run(act: Act, rounds: usize, seed: u64) -> Row {
    let worlds = (0..WORLDS.min(rounds)).map(|number| {
        let rounds = (rounds + number) / WORLDS.min(rounds);
        // A world waits for its processes on a thread of its own; its servers are on the workers.
        std::thread::spawn(move || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(in_one_world(act, rounds, seed * 100 + number as u64))
        })
    });
    let worlds: Vec<_> = worlds.collect();
    let (mut row, mut sent) = (Row::new(act.describe()), 0);
    for world in worlds {
        let (part, bytes) = world.join().unwrap();
        row.injected += part.injected;
        row.operations += part.operations;
        row.refused += part.refused;
        row.lost.extend(part.lost);
        row.wrong.extend(part.wrong);
        row.failed.extend(part.failed);
        sent += bytes;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let copies = sent as f64 / SIZE as f64 / rounds as f64;
    // Writing to a string cannot fail.
    let _ = write!(row.fault, "; {copies:.2} × from the upstream");
    row
}

/// The row, and the bytes from the upstream.
async fn in_one_world(act: Act, rounds: usize, seed: u64) -> (Row, usize) {
    let (mut world, mut row, mut sent) = (World::start(act, seed).await, Row::new(""), 0);
    for number in 0..rounds {
        world.round(seed * 1000 + number as u64, &mut row).await;
        sent += world.upstream.blob_bytes();
        sent += std::mem::take(&mut world.sent);
    }
    world.end(&mut row).await;
    (row, sent)
}

struct World {
    act: Act,
    bucket: Process,
    front: Faulty,
    upstream: Upstream,
    replicas: Vec<Option<Process>>,
    addresses: Addresses,
    dice: Dice,
    /// Bytes that the upstream sent before its manners changed.
    sent: usize,
}

/// The upstream, which is honest unless it `corrupts`.
fn manners(corrupts: bool) -> Manners {
    Manners { ranges: true, pace: Some(PACE), corrupts, ..Manners::default() }
}

/// A folder in memory if there is one, because a round writes the blob twice.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

impl World {
    async fn start(act: Act, seed: u64) -> Self {
        let bucket = Process::over(folder(), &[]);
        let front = Faulty::before(&bucket.addr, seed).await;
        let (upstream, addresses) = (Upstream::start().await, Addresses::default());
        let replicas = (0..REPLICAS).map(|_| None).collect();
        let mut world = Self { act, bucket, front, upstream, replicas, addresses, dice: Dice::new(seed), sent: 0 };
        *world.addresses.lock().unwrap() = vec![String::new(); REPLICAS];
        (0..REPLICAS).for_each(|replica| world.revive(replica));
        world
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.bucket.as_s3_behind(self.front.addr);
        variables.extend([
            ("REGISTRY_HTTP_SECRET", "shared".to_owned()),
            ("REGISTRY_HTTP_DRAINTIMEOUT", "1m".to_owned()),
            ("REGISTRY_PROXY_REMOTEURL", self.upstream.url()),
            // Only the clients' own requests cause fills, so that the first one's replica is the filler.
            ("REGISTRY_PROXY_PREFETCH", "false".to_owned()),
            // Asks the leader where that matters, as the lag of the faults has it.
            ("REGISTRY_STORAGE_S3_TIGRIS", "true".to_owned()),
        ]);
        variables
    }

    /// Starts a replica that does not run.
    fn revive(&mut self, replica: usize) {
        if self.replicas[replica].is_none() {
            let process = Process::start(&borrowed(&self.variables()));
            self.addresses.lock().unwrap()[replica].clone_from(&process.addr);
            self.replicas[replica] = Some(process);
        }
    }

    fn root(&self) -> PathBuf {
        self.bucket.folder.path().join("data")
    }

    fn behave(&mut self, corrupts: bool) {
        self.sent += self.upstream.blob_bytes();
        self.upstream.behave(manners(corrupts));
    }

    async fn round(&mut self, seed: u64, row: &mut Row) {
        let (image, tag) = (Image::new(seed, &[SIZE]), format!("v{seed}"));
        self.upstream.add(NAME, &tag, &image);
        self.behave(self.act == Act::Lie);
        let filler = self.dice.index(REPLICAS);
        let mut pulls = vec![self.client(&image, &tag, filler)];
        let (first, began) = (Arc::clone(&pulls[0].0), Instant::now());
        while first.progress.load(Ordering::SeqCst) == 0 && began.elapsed() < DEADLINE {
            sleep(Duration::from_millis(5)).await;
        }
        pulls.extend([0, 1, 1, 2].map(|other| self.client(&image, &tag, filler + other)));
        if [Act::Kill, Act::Pause].contains(&self.act) {
            self.front.inject(&FAULTS, 1);
        }
        self.front.lag(self.act == Act::Late);
        sleep(self.dice.up_to(FILL)).await;
        self.strike(filler, row).await;
        for (puller, pull) in pulls {
            let how = if puller.shape.is_some() { "in ranges" } else { "whole" };
            row.count(&format!("{tag} {how}"), pull.await.unwrap());
            row.refused += puller.moved.load(Ordering::SeqCst);
        }
        self.front.inject(&[], 0);
        self.front.lag(false);
        self.behave(false);
        self.revive(filler);
        // A client that comes later, at any replica.
        let (_, pull) = self.client(&image, &tag, self.dice.index(REPLICAS));
        row.count_acknowledged(&format!("{tag} later"), pull.await.unwrap());
        self.look(&image, row);
    }

    /// A client that pulls the image's manifest, and then the blob.
    fn client(&self, image: &Image, tag: &str, replica: usize) -> (Arc<Puller>, JoinHandle<Outcome>) {
        let form = *self.dice.of(&[Form::Open, Form::Closed]);
        let shape = Shape { parallel: *self.dice.of(&[1, 3, 4]), chunk: *self.dice.of(&[4 << 20, 9_000_000]), form };
        let puller = Arc::new(Puller {
            name: NAME,
            replicas: Arc::clone(&self.addresses),
            replica: AtomicUsize::new(replica % REPLICAS),
            image: image.clone(),
            shape: self.dice.percent(50).then_some(shape),
            // Some clients wait for a replica that is paused, and some go elsewhere.
            patience: Duration::from_secs(*self.dice.of(&[8, 60])),
            lies: self.act == Act::Lie,
            progress: AtomicUsize::default(),
            moved: AtomicUsize::default(),
        });
        let (own, tag) = (Arc::clone(&puller), tag.to_owned());
        let addr = self.addresses.lock().unwrap()[replica % REPLICAS].clone();
        let pull = async move {
            let client = Client::of(addr, own.patience);
            // A replica that dies now has no part in it.
            let _ = with_retries(3, || client.manifest(NAME, &tag)).await;
            own.pull().await
        };
        let pull = tokio::spawn(async move {
            let ended = timeout(DEADLINE, pull).await;
            ended.unwrap_or_else(|_| Err(Trouble::Broken(format!("it did not end within {DEADLINE:?}"))))
        });
        (puller, pull)
    }

    /// The fault.
    async fn strike(&mut self, filler: usize, row: &mut Row) {
        row.injected += 1;
        let pid = self.replicas[filler].as_ref().unwrap().pid();
        match self.act {
            Act::Kill => drop(self.replicas[filler].take().unwrap().kill()),
            Act::Pause => pause(pid, Duration::from_secs(5) + self.dice.up_to(Duration::from_secs(35))).await,
            Act::Terminate => {
                let process = self.replicas[filler].take().unwrap();
                process.terminate();
                let (status, log) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
                if status != 0 {
                    row.failed.push(format!("it ended with {status}: {log}"));
                }
            }
            Act::Late => {}
            Act::Lie if row.injected.is_multiple_of(2) => self.behave(false),
            Act::Lie => {
                self.behave(false);
                pause(pid, Duration::from_secs(20)).await;
            }
        }
    }

    /// Checks the blob in the bucket, and removes it, because the bucket may be in memory. It may not be there: a fill
    /// whose filler died at its end is done again by the next request.
    fn look(&self, image: &Image, row: &mut Row) {
        let wanted = digest(image.layer());
        let hex = wanted.trim_start_matches("sha256:");
        let path = self.root().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        if let Ok(bytes) = fs::read(&path) {
            if digest(&bytes) != wanted {
                row.wrong.push(format!("the bucket has {} as {wanted}", digest(&bytes)));
            }
            let _ = fs::remove_file(path);
        }
    }

    /// Ends the replicas, makes old what they left, and lets another process sweep it.
    async fn end(mut self, row: &mut Row) {
        let ended = self.replicas.iter_mut().filter_map(Option::take).map(|process| {
            process.terminate();
            tokio::task::spawn_blocking(|| process.end())
        });
        for ended in join_all(ended.collect::<Vec<_>>()).await {
            let (status, log) = ended.unwrap();
            if status != 0 {
                row.failed.push(format!("it ended with {status}: {log}"));
            }
        }
        let root = self.root();
        let old = SystemTime::now() - Duration::from_hours(48);
        for path in of_fills(&root) {
            let _ = fs::File::options().write(true).open(path).and_then(|file| file.set_modified(old));
        }
        let variables = self.variables();
        let _sweeper = Process::start(&[borrowed(&variables), SWEEPING.to_vec()].concat());
        let began = Instant::now();
        loop {
            let left = [of_fills(&root), leftovers(&root)].concat();
            if left.is_empty() {
                break;
            }
            if began.elapsed() > Duration::from_mins(1) {
                row.wrong.push(format!("left over: {left:?}"));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        audit(&root, row);
    }
}

/// Stops a process, and lets it go on.
pub(crate) async fn pause(pid: u32, length: Duration) {
    let signal = |name| {
        let sent = Command::new("kill").arg(name).arg(pid.to_string()).status();
        assert!(sent.unwrap().success(), "{pid} is gone");
    };
    signal("-STOP");
    sleep(length).await;
    signal("-CONT");
}

/// The leases and chunks in a bucket's folder.
fn of_fills(root: &Path) -> Vec<PathBuf> {
    files(&root.join("pounce/fills"))
}
