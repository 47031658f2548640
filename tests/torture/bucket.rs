//! An S3 with every kind of fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::client::{Client, Way};
use super::ledger::{Ledger, audit, audit_manifests};
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::faults::{Fault, Faulty};
use crate::support::{Image, Pounce, borrowed};

const MIB: usize = 1 << 20;
/// The longest operation: the SDK makes four attempts, and each waits two minutes for an answer.
const PATIENCE: Duration = Duration::from_mins(10);
/// Operations of each client, one after the other: one without an answer takes minutes.
const IN_TURN: usize = 25;

/// Runs so many operations, and injects each of these faults into so many percent of the requests.
pub async fn with(name: &str, faults: &[Fault], percent: u64, operations: usize, seed: u64) -> Row {
    let mut row = Row::new(name);
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, seed).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.extend([
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true".to_owned()),
        ("REGISTRY_STORAGE_S3_TIGRIS", "true".to_owned()),
    ]);
    let variables = borrowed(&variables);
    let pounce = Pounce::with(&variables).await;
    let client = Client::of(pounce.addr, PATIENCE);
    let shared = Arc::new(Shared {
        client: client.clone(),
        ledger: Ledger::default(),
        dice: Dice::new(seed),
        row: Mutex::new(Row::new("")),
    });

    front.inject(faults, percent);
    let mut clients = JoinSet::new();
    for client in 0..operations.div_ceil(IN_TURN) {
        let shared = Arc::clone(&shared);
        clients.spawn(async move {
            for number in 0..IN_TURN {
                shared.one(client, number).await;
            }
        });
    }
    clients.join_all().await;
    row.injected = front.take().values().sum();
    front.inject(&[], 0);

    let made = shared.row.lock().await.clone();
    row = Row { injected: row.injected, fault: row.fault, ..made };
    // Another process starts without caches.
    let fresh = Pounce::with(&variables).await;
    let fresh = Client::of(fresh.addr, PATIENCE);
    shared.ledger.verify(&fresh, &mut row).await;
    audit(&bucket.root(), &mut row);
    audit_manifests(&bucket.root(), &mut row);
    row
}

struct Shared {
    client: Client,
    ledger: Ledger,
    dice: Dice,
    row: Mutex<Row>,
}

impl Shared {
    /// One operation of a client.
    async fn one(&self, client: usize, number: usize) {
        let name = format!("tortured/by-{client}");
        let began = Instant::now();
        let known = self.ledger.tags();
        let (what, outcome) = match self.dice.below(10) {
            0..4 => {
                let large = *self.dice.of(&[1000, 1000, 1000, 7 * MIB, 12 * MIB]);
                let way = *self.dice.of(&Way::ALL);
                let image = Image::new((client * 100_000 + number) as u64, &[large, 2000]);
                let place = (&name[..], &format!("t{number}")[..]);
                let pushed = self.ledger.push(&self.client, place, &image, way).await;
                (format!("push {place:?} {way:?} {large}"), pushed)
            }
            4..8 if !known.is_empty() => {
                let (name, tag) = self.dice.of(&known);
                let pulled = match self.client.pull(name, tag).await {
                    // A client that deletes it meanwhile explains the absence.
                    Err(trouble) if trouble.is_absence() && !self.ledger.has(name, tag) => Ok(()),
                    other => other.map(drop),
                };
                (format!("pull {name}:{tag}"), pulled)
            }
            8 if !known.is_empty() => {
                let (name, tag) = self.dice.of(&known);
                let deleted = self.ledger.delete(&self.client, (name, tag)).await;
                (format!("delete {name}:{tag}"), deleted)
            }
            _ => (format!("tags of {name}"), self.client.tags(&name).await),
        };
        let what = format!("{what} after {:?}", began.elapsed());
        self.row.lock().await.count_refusable(&what, outcome);
    }
}
