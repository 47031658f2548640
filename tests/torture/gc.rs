//! Three replicas that push, mount, delete and push again what is condemned, while collectors sweep, and any of these
//! processes is killed or paused.
//!
//! All times of the protocol are a thousandth of the real ones, or as short as dates with seconds allow, so that each
//! round sees batches published and swept. A client that is refused goes on at another replica, and pushes what is not
//! there any more again, as real ones do. After each round a process without caches reads every acknowledged image back
//! whole; at the end, nothing may be left in the bucket that no manifest needs, and nothing be missing that one names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pounce::Server;
use pounce::config::{Config, Environment, GcTiming};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Outcome, Trouble, Way};
use super::fillers::pause;
use super::ledger::files;
use super::puller::Addresses;
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::faults::{Fault, Faulty};
use crate::support::image::{OCI_INDEX, digest};
use crate::support::process::started;
use crate::support::{Image, Pounce, Process, borrowed};

/// The argument by which this program is a replica.
pub const REPLICA: &str = "replica";
/// Says that a replica collects, too.
const COLLECTS: &str = "TORTURE_COLLECTS";
const REPLICAS: usize = 3;
/// Two, so that one goes on where the other one is paused.
const COLLECTORS: usize = 2;
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
    addresses: Addresses,
    dice: Dice,
    seed: u64,
    clients: Vec<Arc<Actor>>,
    /// The blobs that there were at the end of the last round.
    blobs: BTreeSet<PathBuf>,
    swept: usize,
}

/// A client with a repository of its own, so that it knows what its tags name; blobs are every repository's.
struct Actor {
    name: String,
    replicas: Addresses,
    images: Arc<Vec<Image>>,
    /// The digests that were acknowledged, by tag.
    tags: Mutex<BTreeMap<String, String>>,
    stop: AtomicBool,
    dice: Dice,
}

impl World {
    async fn start(seed: u64) -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let bucket = Process::over(folder, &[]);
        let front = Faulty::before(&bucket.addr, seed).await;
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
            Arc::new(Actor {
                name: format!("tortured/by-{number}"),
                replicas: Arc::clone(&addresses),
                images: Arc::clone(&images),
                tags: Mutex::default(),
                stop: AtomicBool::default(),
                dice: Dice::new(seed * 1000 + number as u64),
            })
        });
        let processes = (0..REPLICAS + COLLECTORS).map(|_| None).collect();
        let (clients, dice) = (clients.collect(), Dice::new(seed));
        let blobs = BTreeSet::new();
        let mut world = Self { bucket, front, processes, addresses, dice, seed, clients, blobs, swept: 0 };
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
        started(&mut command, folder.path()).arg(REPLICA).envs(self.bucket.as_s3_behind(self.front.addr)).envs([
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
            drop(self.processes[number].take().unwrap().kill());
            self.revive(number);
        } else {
            let length = Duration::from_millis(500) + self.dice.up_to(Duration::from_secs(9));
            pause(self.processes[number].as_ref().unwrap().pid(), length).await;
        }
    }

    /// Reads everything that was acknowledged, as a process without caches sees it.
    async fn verify(&self, row: &mut Row) {
        let fresh = Pounce::with(&borrowed(&self.bucket.as_s3())).await;
        let client = Client::of(fresh.addr, PATIENCE);
        for actor in &self.clients {
            let tags = actor.tags.lock().unwrap().clone();
            for (tag, wanted) in tags {
                let what = format!("{}:{tag}, {wanted}", actor.name);
                let read = pull(&client, &actor.name, &tag).await;
                let read = read.and_then(|bytes| {
                    if digest(&bytes) == wanted {
                        Ok(())
                    } else {
                        Err(Trouble::Wrong(format!("it is {}", digest(&bytes))))
                    }
                });
                row.count_acknowledged(&what, read);
            }
        }
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

impl Actor {
    async fn act(self: Arc<Self>) -> Row {
        let mut row = Row::new("");
        while !self.stop.load(Ordering::SeqCst) {
            sleep(self.dice.up_to(Duration::from_millis(150))).await;
            let tag = format!("t{}", self.dice.below(4));
            let (what, outcome) = match self.dice.below(10) {
                0..4 => (format!("push of {}:{tag}", self.name), self.within(self.push_image(&tag)).await),
                4 => (format!("push of the index {}:{tag}", self.name), self.within(self.push_index(&tag)).await),
                5..9 => (format!("delete of {}:{tag}", self.name), self.within(self.delete(&tag)).await),
                _ => (format!("pull of {}:{tag}", self.name), self.within(self.read(&tag)).await),
            };
            row.count_refusable(&what, outcome);
        }
        row
    }

    async fn within(&self, operation: impl Future<Output = Outcome>) -> Outcome {
        let ended = timeout(DEADLINE, operation).await;
        ended.unwrap_or_else(|_| Err(Trouble::Broken(format!("it did not end within {DEADLINE:?}"))))
    }

    fn client(&self) -> Client {
        let replicas = self.replicas.lock().unwrap();
        Client::of(self.dice.of(&replicas), PATIENCE)
    }

    /// Pushes the image as docker does: only what is not there. What is not there any more when its manifest comes is
    /// pushed again.
    async fn store(&self, reference: &str, image: &Image) -> Outcome {
        let mut last = Trouble::Broken("it was never tried".to_owned());
        for attempt in 0..40 {
            match self.try_to_store(reference, image).await {
                Err(trouble) if !is_final(&trouble) => last = trouble,
                other => return other,
            }
            sleep(Duration::from_millis(100) * (attempt.min(10) + 1)).await;
        }
        Err(last)
    }

    async fn try_to_store(&self, reference: &str, image: &Image) -> Outcome {
        let client = self.client();
        for blob in &image.blobs {
            let wanted = digest(blob);
            if client.has_blob(&self.name, &wanted).await? {
                continue;
            }
            let from = format!("tortured/by-{}", self.dice.below(CLIENTS as u64));
            if from != self.name && self.dice.percent(50) && client.mount(&self.name, &wanted, &from).await? {
                continue;
            }
            client.push_blob(&self.name, blob, *self.dice.of(&Way::ALL)).await?;
        }
        // A slow client, whose blobs are condemned meanwhile.
        if self.dice.percent(20) {
            sleep(self.dice.up_to(Duration::from_secs(6))).await;
        }
        client.push_manifest(&self.name, reference, image).await
    }

    async fn push_image(&self, tag: &str) -> Outcome {
        let image = self.dice.of(&self.images);
        // From now on, the tag may name either.
        self.tags.lock().unwrap().remove(tag);
        self.store(tag, image).await?;
        self.tags.lock().unwrap().insert(tag.to_owned(), image.digest());
        Ok(())
    }

    async fn push_index(&self, tag: &str) -> Outcome {
        let images = [self.dice.of(&self.images), self.dice.of(&self.images)];
        let entry = |image: &&Image| json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len()});
        let entries: Vec<_> = images.iter().map(entry).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
        let index = Image { manifest: Bytes::from(manifest), media_type: OCI_INDEX.to_owned(), blobs: Vec::new() };
        self.tags.lock().unwrap().remove(tag);
        let mut last = Ok(());
        for _ in 0..10 {
            for image in images {
                self.store(&image.digest(), image).await?;
            }
            last = self.store(tag, &index).await;
            if last.is_ok() {
                self.tags.lock().unwrap().insert(tag.to_owned(), index.digest());
                break;
            }
        }
        last
    }

    /// Deletes what a tag names, with all tags that name it.
    async fn delete(&self, tag: &str) -> Outcome {
        let Some(digest) = self.tags.lock().unwrap().get(tag).cloned() else {
            return Ok(());
        };
        self.tags.lock().unwrap().retain(|_, named| *named != digest);
        let mut last = Ok(());
        for attempt in 0..20 {
            last = match self.client().delete(&self.name, &digest).await {
                // An earlier attempt did it.
                Err(trouble) if trouble.is_absence() => Ok(()),
                other => other,
            };
            match &last {
                Err(trouble) if !is_final(trouble) => sleep(Duration::from_millis(100) * (attempt + 1)).await,
                _ => break,
            }
        }
        last
    }

    /// Caches may be of before a delete or a push elsewhere, so that only wrong bytes count.
    async fn read(&self, tag: &str) -> Outcome {
        match pull(&self.client(), &self.name, tag).await {
            Err(trouble) if trouble.is_wrong() => Err(trouble),
            _ => Ok(()),
        }
    }
}

/// Whether to try again would not help.
fn is_final(trouble: &Trouble) -> bool {
    match trouble {
        // A replica died, or asks to come again, or the content went meanwhile.
        Trouble::Broken(_) | Trouble::Refused(404 | 429 | 500..=599, _) => false,
        Trouble::Refused(400, code) => code != "MANIFEST_BLOB_UNKNOWN",
        _ => true,
    }
}

/// A manifest by its tag, and everything that it names.
async fn pull(client: &Client, name: &str, tag: &str) -> Outcome<Bytes> {
    let manifest = client.manifest(name, tag).await?;
    let parsed: Value = serde_json::from_slice(&manifest).map_err(|error| Trouble::Wrong(error.to_string()))?;
    let Some(entries) = parsed["manifests"].as_array() else {
        return client.pull(name, tag).await;
    };
    for entry in entries {
        client.pull(name, entry["digest"].as_str().unwrap_or_default()).await?;
    }
    Ok(manifest)
}

/// The digests that a manifest names.
fn named(manifest: &Value) -> Vec<String> {
    let list = |field: &str| manifest[field].as_array().cloned().unwrap_or_default();
    let all = [vec![manifest["config"].clone()], list("layers"), list("manifests")].concat();
    all.iter().filter_map(|entry| Some(entry["digest"].as_str()?.to_owned())).collect()
}

fn data(root: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    root.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", hex.get(..2).unwrap_or_default()))
}

/// The repositories' manifests: the link, and the content.
fn manifests(root: &Path) -> Vec<(PathBuf, String, Value)> {
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    let links = links.filter(|path| path.to_string_lossy().contains("/_manifests/revisions/"));
    let read = links.filter_map(|path| {
        let digest = std::fs::read_to_string(&path).ok()?;
        let manifest = std::fs::read(data(root, &digest)).ok()?;
        Some((path, digest, serde_json::from_slice(&manifest).ok()?))
    });
    read.collect()
}

/// The blobs that no manifest of any repository needs, and the layer links that no manifest of theirs needs.
fn unneeded(root: &Path) -> Vec<PathBuf> {
    let mut needed = BTreeSet::new();
    for (path, digest, manifest) in manifests(root) {
        let own = path.to_string_lossy().split("/_manifests/").next().unwrap_or_default().to_owned();
        needed.insert(data(root, &digest));
        for digest in named(&manifest) {
            needed.insert(data(root, &digest));
            needed.insert(PathBuf::from(format!("{own}/_layers/{}/link", digest.replace(':', "/"))));
        }
    }
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    let links = links.filter(|path| path.to_string_lossy().contains("/_layers/"));
    let all = files(&root.join("docker/registry/v2/blobs")).into_iter().chain(links);
    all.filter(|path| !needed.contains(path)).collect()
}

/// What a manifest of a repository names, and the bucket does not have; and links of manifests that are not there.
fn missing(root: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for (path, _, manifest) in manifests(root) {
        let absent = named(&manifest).into_iter().filter(|digest| !data(root, digest).is_file());
        missing.extend(absent.map(|digest| format!("{} names {digest}, which is not there", path.display())));
    }
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    for path in links.filter(|path| path.to_string_lossy().contains("/current/link")) {
        let digest = std::fs::read_to_string(&path).unwrap_or_default();
        if !data(root, &digest).is_file() {
            missing.push(format!("{} is {digest}, which is not there", path.display()));
        }
    }
    missing
}
