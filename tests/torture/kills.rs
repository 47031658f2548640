//! `kill -9` at any moment.
//!
//! In each round a process begins an operation, is killed at a random moment, and another process starts over the same
//! bucket. Then the test checks that all acknowledged content reads back right, that no content is half there, and that
//! the client's retry succeeds. Every other round picks a request first and then a moment in it, so that kills hit
//! short requests too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Client, Outcome, Trouble, Way, until_probe, with_retries};
use super::ledger::{Ledger, audit, audit_manifests, leftovers};
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::image::digest;
use crate::support::{Image, Pounce, Process, Upstream, borrowed};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_mins(1);
const NAME: &str = "tortured/image";

/// The operation during which the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Push(Way),
    Fill,
    Warm,
    Delete,
    Sweep,
}

impl Moment {
    pub const ALL: [Self; 7] = [
        Self::Push(Way::Whole),
        Self::Push(Way::Streamed),
        Self::Push(Way::Chunks),
        Self::Fill,
        Self::Warm,
        Self::Delete,
        Self::Sweep,
    ];

    /// The content comes from an upstream.
    fn pulls(self) -> bool {
        matches!(self, Self::Fill | Self::Warm)
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Push(Way::Whole) => "kill -9 during a push as containerd's",
            Self::Push(Way::Streamed) => "kill -9 during a push as docker's",
            Self::Push(Way::Chunks) => "kill -9 during a push in chunks",
            Self::Fill => "kill -9 during fills",
            Self::Warm => "kill -9 of pounce warm",
            Self::Delete => "kill -9 during deletes",
            Self::Sweep => "kill -9 during sweeps",
        }
    }
}

/// The place of the blobs: a folder of the killed process, or an S3 that keeps running.
struct Place {
    bucket: Option<Pounce>,
    folder: Option<TempDir>,
    spool: TempDir,
    upstream: Upstream,
}

impl Place {
    async fn new(in_s3: bool) -> Self {
        let bucket = if in_s3 { Some(Pounce::with(&[]).await) } else { None };
        Self {
            bucket,
            folder: Some(TempDir::new().unwrap()),
            spool: TempDir::new().unwrap(),
            upstream: Upstream::start().await,
        }
    }

    fn root(&self) -> PathBuf {
        match (&self.bucket, &self.folder) {
            (Some(bucket), _) => bucket.root(),
            (None, Some(folder)) => folder.path().join("data"),
            (None, None) => unreachable!("it is running"),
        }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.bucket.as_ref().map(Pounce::as_s3).unwrap_or_default();
        let spool = self.spool.path().to_str().unwrap().to_owned();
        variables.extend([
            ("REGISTRY_HTTP_SECRET", "shared".to_owned()),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "true".to_owned()),
            ("REGISTRY_PROXY_SPOOL_DIRECTORY", spool),
        ]);
        variables
    }

    fn start(&mut self, more: &[(&str, &str)]) -> Process {
        let variables = self.variables();
        let mut all = borrowed(&variables);
        all.extend(more);
        Process::over(self.folder.take().unwrap(), &all)
    }

    /// Checks the bucket after a kill.
    fn look(&self, row: &mut Row) {
        audit(&self.root(), row);
        let spooled = std::fs::read_dir(self.spool.path()).unwrap().count();
        if spooled > 0 {
            row.wrong.push(format!("{spooled} files in proxy.spool.directory"));
        }
    }
}

/// Runs so many rounds of one operation, over a folder and over an S3.
pub async fn at(moment: Moment, rounds: usize, seed: u64) -> Row {
    let mut row = Row::new(moment.describe());
    let dice = Dice::new(seed);
    for in_s3 in [false, true] {
        let (mut place, mut ledgers) = (Place::new(in_s3).await, Vec::new());
        // How long the operation takes undisturbed; every round adjusts it.
        let guess = if moment == Moment::Delete { 20 } else { 300 };
        let mut usual = Duration::from_millis(guess);
        // How many requests it takes.
        let mut requests = 1;
        for number in 0..rounds.div_ceil(2) {
            let round = Round {
                moment,
                tag: format!("r{number}"),
                image: Image::new(seed * 1000 + number as u64, &[12 * MIB, 20_000, 3 * MIB]),
                ledger: Ledger::default(),
            };
            let picks = number % 2 == 1 && moment != Moment::Warm;
            let share = usual / u32::try_from(requests).unwrap();
            let (request, most) = if picks { (1 + dice.index(requests), share) } else { (0, usual) };
            let when = When { request, after: dice.up_to(most), abandoned: dice.up_to(usual) };
            let (ended, begun) = round.run(&mut place, when, &mut row).await;
            requests = requests.max(begun);
            if !picks {
                usual = if ended { usual * 3 / 4 } else { usual * 5 / 4 };
                usual = usual.clamp(Duration::from_millis(2), Duration::from_secs(2));
            }
            ledgers.push(round.ledger);
        }
        if !moment.pulls() {
            audit_manifests(&place.root(), &mut row);
        }
        let root = place.root();
        let process = place.start(&SWEEPING);
        swept(&root, &mut row).await;
        let client = Client::of(&process.addr, PATIENCE);
        for ledger in &ledgers {
            ledger.verify(&client, &mut row).await;
        }
    }
    row
}

/// Sweeps all the time everything that is older than a second.
pub const SWEEPING: [(&str, &str); 2] = [
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "1s"),
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "100ms"),
];

/// Waits until the sweeper has removed all that uploads left.
async fn swept(root: &Path, row: &mut Row) {
    let began = Instant::now();
    while !leftovers(root).is_empty() {
        if began.elapsed() > Duration::from_secs(20) {
            row.wrong.push(format!("left over: {:?}", leftovers(root)));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// When to kill the process: so long after this request began, or for request 0, after the operation began.
#[derive(Clone, Copy)]
struct When {
    request: usize,
    after: Duration,
    /// When the client abandons the upload that the process sweeps.
    abandoned: Duration,
}

impl When {
    async fn comes(self, client: &Client) {
        client.until_begun(self.request).await;
        tokio::time::sleep(self.after).await;
    }
}

struct Round {
    moment: Moment,
    tag: String,
    image: Image,
    ledger: Ledger,
}

impl Round {
    /// Whether the operation had ended before the kill, and how many requests it had begun.
    async fn run(&self, place: &mut Place, when: When, row: &mut Row) -> (bool, usize) {
        let upstream = place.upstream.url();
        let mut variables = vec![];
        if self.moment.pulls() {
            place.upstream.add(NAME, &self.tag, &self.image);
            variables.push(("REGISTRY_PROXY_REMOTEURL", &upstream[..]));
        }
        let (mut begun, mut met) = (0, String::new());
        let ended = if self.moment == Moment::Warm {
            match warm(place, &upstream, &self.tag, when.after).await {
                Some(true) => true,
                Some(false) => {
                    row.failed.push(format!("{}: warm failed", self.tag));
                    true
                }
                None => false,
            }
        } else {
            let sweeps = self.moment == Moment::Sweep;
            if sweeps {
                self.abandon(place, when.abandoned).await;
                variables.extend(SWEEPING);
            }
            let process = place.start(&variables);
            if self.moment == Moment::Delete {
                let client = Client::of(&process.addr, PATIENCE);
                self.push(&client, Way::Whole).await.unwrap();
            }
            let client = Client::of(&process.addr, PATIENCE);
            let ended = tokio::select! {
                // The work begins even if the kill is due at once.
                biased;
                outcome = self.work(&client) => {
                    match outcome {
                        // The sweeper may have removed the upload after a second.
                        Err(Trouble::Refused(404, code)) if sweeps && code == "BLOB_UPLOAD_UNKNOWN" => {
                            row.refused += 1;
                        }
                        Err(trouble) => row.failed.push(format!("{}: {trouble:?}", self.tag)),
                        Ok(()) => {}
                    }
                    true
                }
                () = when.comes(&client) => false,
            };
            place.folder = Some(process.kill());
            (begun, met) = client.begun();
            ended
        };
        // If the operation had ended, the kill hit an idle process.
        if !ended {
            row.injected += 1;
            if !met.is_empty() {
                *row.met.entry(met).or_default() += 1;
            }
        }
        row.operations += 1;
        let found = row.wrong.len();
        place.look(row);
        if self.moment == Moment::Delete {
            // The manifest's link goes first. A delete that died before it was acknowledged may leave the tag, which
            // answers 404; the next attempt takes it away, after which nothing may be wrong.
            let tag = format!("/_manifests/tags/{}/", self.tag);
            let found = row.wrong.split_off(found);
            row.wrong.extend(found.into_iter().filter(|wrong| !wrong.contains(&tag)));
        }

        let root = place.root();
        let process = place.start(&variables);
        let client = Client::of(&process.addr, PATIENCE);
        self.ledger.verify(&client, row).await;
        row.operations += 1;
        if let Err(trouble) = self.try_again(&client).await {
            let tag = &self.tag;
            row.failed.push(format!("{tag}, tried again: {trouble:?}"));
        }
        if self.moment.pulls() {
            for blob in &self.image.blobs {
                let path = format!("/v2/{NAME}/blobs/{}", digest(blob));
                until_probe(&client, &path, 307).await;
            }
            self.until_tagged(&root).await;
            self.ledger.pulled((NAME, &self.tag), &self.image);
        }
        place.folder = Some(process.kill());
        if self.moment == Moment::Delete {
            place.look(row);
        }
        (ended, begun)
    }

    async fn push(&self, client: &Client, way: Way) -> Outcome {
        let place = (NAME, &self.tag[..]);
        self.ledger.push(client, place, &self.image, way).await
    }

    /// The operation to interrupt.
    async fn work(&self, client: &Client) -> Outcome {
        match self.moment {
            Moment::Push(way) => self.push(client, way).await,
            Moment::Sweep => self.push(client, Way::Chunks).await,
            Moment::Delete => self.ledger.delete(client, (NAME, &self.tag)).await,
            Moment::Fill | Moment::Warm => client.pull(NAME, &self.tag).await.map(drop),
        }
    }

    async fn try_again(&self, client: &Client) -> Outcome {
        if self.moment != Moment::Delete {
            // The sweeper may remove the upload after a second, so the client may need several attempts.
            return with_retries(5, || self.work(client)).await;
        }
        match client.delete(NAME, &self.image.digest()).await {
            Err(trouble) if !trouble.is_absence() => return Err(trouble),
            _ => {}
        }
        match client.manifest(NAME, &self.tag).await {
            Err(trouble) if trouble.is_absence() => Ok(()),
            other => Err(Trouble::Wrong(format!("it is still there: {other:?}"))),
        }
    }

    /// Waits until the bucket has the tag, because it is written in the background.
    async fn until_tagged(&self, root: &Path) {
        let tags = format!("docker/registry/v2/repositories/{NAME}/_manifests/tags");
        let link = root.join(tags).join(&self.tag).join("current/link");
        let began = Instant::now();
        while !link.is_file() {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", link.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An abandoned upload, old enough for the sweeper.
    async fn abandon(&self, place: &mut Place, after: Duration) {
        let process = place.start(&[]);
        let client = Client::of(&process.addr, PATIENCE);
        let push = client.push(NAME, &self.tag, &self.image, Way::Chunks);
        let _ = tokio::time::timeout(after, push).await;
        place.folder = Some(process.kill());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Kills a `pounce warm`; returns its success if it had ended before.
async fn warm(place: &Place, upstream: &str, tag: &str, after: Duration) -> Option<bool> {
    let root = place.root();
    let mut warm = Command::new(crate::support::program())
        .env_clear()
        .args(["warm", &format!("{NAME}:{tag}")])
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)
        .envs(place.variables())
        .env("REGISTRY_PROXY_REMOTEURL", upstream)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(after).await;
    let ended = warm.try_wait().unwrap();
    warm.kill().unwrap();
    warm.wait().unwrap();
    ended.map(|status| status.success())
}
