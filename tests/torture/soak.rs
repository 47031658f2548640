//! Mixed work for a long time, to find leaks.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

use super::client::{Client, Outcome, Way, until_probe};
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::image::digest;
use crate::support::{Image, Process, Upstream, borrowed};

const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "tortured/soak";
/// Images that are pushed again and again, and pulled.
const IMAGES: u64 = 50;
/// Requests under way at once.
const AT_ONCE: usize = 64;

/// A process's resources.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// MiB
    memory: f64,
    descriptors: usize,
    tasks: u64,
}

async fn held(process: &Process) -> Held {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count();
    Held { memory: kib / 1024.0, descriptors, tasks: process.metric("tasks").await }
}

/// Sends so many requests a second for so long. If it is `long`, the memory of the last tenth may exceed that of the
/// third one by ten percent, and file descriptors and tasks may not grow, once idle connections have been closed.
pub async fn soak(length: Duration, rate: u32, long: bool) -> Row {
    let mut row = Row::new(format!("nothing: {rate} requests a second for {length:?}"));
    let (bucket, upstream) = (Process::start(&[]), Upstream::start().await);
    let mut variables = bucket.as_s3();
    let url = upstream.url();
    variables.extend([
        ("REGISTRY_PROXY_REMOTEURL", url),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true".into()),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true".into()),
    ]);
    let variables = borrowed(&variables);
    let process = Process::start(&variables);
    let images: Vec<Image> = (0..IMAGES).map(|seed| Image::new(seed, &[30_000, 2000])).collect();
    let client = Client::of(&process.addr, PATIENCE);
    for (number, image) in images.iter().enumerate() {
        client.push(NAME, &format!("v{number}"), image, Way::Whole).await.unwrap();
    }
    until_probe(&client, "/readyz", 200).await;
    let shared = Arc::new(Shared { client, images, upstream, dice: Dice::new(5), row: Mutex::default() });
    let before = held(&process).await;
    let (began, mut samples) = (Instant::now(), Vec::new());
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut next_sample = Duration::ZERO;
    let mut number = 0;
    while began.elapsed() < length {
        ticks.tick().await;
        number += 1;
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.one(number).await;
            drop(place);
        });
        if began.elapsed() >= next_sample {
            next_sample += length / 60;
            samples.push(held(&process).await.memory);
        }
    }
    let all = u32::try_from(AT_ONCE).unwrap();
    drop(places.acquire_many(all).await.unwrap());
    let made = shared.row.lock().await.clone();
    // The client's connections close with it.
    drop(shared);
    row.injected = 1;
    (row.operations, row.wrong, row.failed) = (made.operations, made.wrong, made.failed);
    let tenth = |number: usize| {
        let most = samples.iter().skip(number * 6).take(6);
        most.copied().fold(0.0, f64::max)
    };
    let (third, last) = (tenth(2), tenth(9));
    let grown = format!("; memory {third:.1} MiB, at the end {last:.1} MiB");
    row.fault.push_str(&grown);
    if long && last > third * 1.1 {
        row.failed.push(format!("memory grew: {samples:?}"));
    }
    let after = if long { rested(&process, before).await } else { Held { tasks: 0, ..before } };
    let (asked, mut connections) = (Instant::now(), 1);
    while connections > 0 && asked.elapsed() < Duration::from_secs(20) {
        connections = process.metric("connections").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wanted = length.as_secs() * u64::from(rate) * 95 / 100;
    if long && (row.operations as u64) < wanted {
        row.failed.push(format!("only {} requests", row.operations));
    }
    if after.descriptors > before.descriptors || after.tasks > before.tasks || connections > 0 {
        row.failed.push(format!("left over: {before:?}, {after:?}, {connections} connections"));
    }
    row
}

/// The process's resources once connections have ended.
async fn rested(process: &Process, before: Held) -> Held {
    let began = Instant::now();
    loop {
        let after = held(process).await;
        let rests = after.descriptors <= before.descriptors && after.tasks <= before.tasks;
        // Connections to the S3 and the upstream are kept for 90 s.
        if rests || began.elapsed() > Duration::from_mins(4) {
            return after;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Shared {
    client: Client,
    images: Vec<Image>,
    upstream: Upstream,
    dice: Dice,
    row: Mutex<Row>,
}

impl Shared {
    async fn one(&self, number: u64) {
        let chosen = usize::try_from(self.dice.below(IMAGES)).unwrap();
        let (image, tag) = (&self.images[chosen], format!("v{chosen}"));
        let (what, outcome) = match self.dice.below(1000) {
            0..600 => ("redirect", self.client.redirect(NAME, &digest(image.layer())).await.map(drop)),
            600..800 => ("manifest", self.client.manifest(NAME, &tag).await.map(drop)),
            800..850 => ("HEAD", self.client.head(NAME, &tag).await),
            850..950 => ("blob", self.client.blob(NAME, &digest(image.layer())).await.map(drop)),
            950..965 => ("push", self.client.push(NAME, &tag, image, *self.dice.of(&Way::ALL)).await),
            965..970 => ("delete", self.delete(number).await),
            970..990 => ("tags", self.client.tags(NAME).await),
            990..998 => ("absent", self.absent(number).await),
            _ => ("cold", self.cold(number).await),
        };
        self.row.lock().await.count(what, outcome);
    }

    /// Pushes an image only to delete it.
    async fn delete(&self, number: u64) -> Outcome {
        let (image, name) = (Image::new(2_000_000 + number, &[2000]), "tortured/deleted");
        let tag = format!("d{number}");
        self.client.push(name, &tag, &image, Way::Whole).await?;
        self.client.delete(name, &image.digest()).await
    }

    /// Asks for content that no registry has.
    async fn absent(&self, number: u64) -> Outcome {
        let wanted = format!("sha256:{number:064x}");
        match self.client.manifest(NAME, &wanted).await {
            Err(trouble) if trouble.is_absence() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Asks for content that only the upstream has.
    async fn cold(&self, number: u64) -> Outcome {
        let (image, name) = (Image::new(1_000_000 + number, &[200_000]), "tortured/cold");
        let tag = format!("c{number}");
        self.upstream.add(name, &tag, &image);
        self.client.pull(name, &tag).await.map(drop)
    }
}
