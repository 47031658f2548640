//! Replicas that share one copy from the upstream, and need no disk: the aims, and what was measured.
//!
//! The upstream sends 10 MB/s a connection where a row does not say otherwise; the bucket is an S3 in memory, 10 ms
//! away. Blobs are made up, so that the harness needs neither memory nor disk for them. All of it shares the machine.
//!
//! `BEFORE=path` names another pounce: the rows that compare with an earlier program run that one, too. `ROWS=text`
//! measures only the rows whose names have the text.

mod bucket;
mod client;
mod objects;
mod sparse;
mod table;
mod uploads;
mod world;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::fleet::upstream::{Limits, UNLIMITED};
use crate::peers::Running;
use crate::support;
use crate::tools::median;
use client::Pulled;
use table::Table;
use world::{Blob, World};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// 10 MB/s a connection.
const CAPPED: Limits = Limits { connection: 10e6, ..UNLIMITED };
/// Rounds of what is over in a second or two.
const ROUNDS: u64 = 3;
/// The grace of a fill's chunks, and some time to delete them.
const GRACE: Duration = Duration::from_secs(75);
/// The clients of the largest blob, and the rate of those that are slow, in bytes a second.
const CLIENTS: usize = 20;
const SLOW: f64 = 10e6;

type Outcome<T = ()> = Result<T, String>;

/// Measures; the section of the document.
pub async fn measure() -> String {
    let bench = Bench { program: support::program(), before: std::env::var_os("BEFORE").map(PathBuf::from) };
    let (mut table, only) = (Table::default(), std::env::var("ROWS").unwrap_or_default());
    let wanted = |name: &str| name.contains(&only);
    let kept = if wanted("requests") { Some(bench.requests(&mut table).await) } else { None };
    // The macro, because the rows are futures of different types.
    macro_rules! rows {
        ($($row:ident),*) => { $(
            let name = stringify!($row);
            if wanted(name) {
                let began = Instant::now();
                if let Err(why) = bench.$row(&mut table).await {
                    table.failed(name, &why);
                }
                eprintln!("shared: {name}: {:.0} s", began.elapsed().as_secs_f64());
            }
        )* };
    }
    rows!(whole, ranges, no_disk, first_byte, killed, killed_alone, large, behind, uncapped);
    match kept {
        Some(Ok(kept)) => bench.requests_at_the_end(&mut table, kept).await,
        Some(Err(why)) => table.failed("requests", &why),
        None => {}
    }
    table.section()
}

struct Bench {
    program: PathBuf,
    before: Option<PathBuf>,
}

/// The world of the row that counts requests, which ends with the grace of its chunks.
struct Kept {
    world: World,
    at: Instant,
    before: bucket::Calls,
}

impl Bench {
    async fn world(&self, blobs: &[Blob], replicas: usize) -> Outcome<World> {
        World::start(blobs, CAPPED, (&self.program, replicas), &[]).await
    }

    async fn whole(&self, table: &mut Table) -> Outcome {
        let blob = Blob::new(1, 64 * MIB);
        let world = self.world(std::slice::from_ref(&blob), 3).await?;
        let clients = (0..9).map(|number| world.client(number % 3, &blob).image());
        all(clients.collect()).await?;
        let what = "3 replicas × 3 whole clients, cold 64 MiB: bytes from the upstream";
        table.aim(what, world.copies(64 * MIB), "×", 1.05);
        Ok(())
    }

    async fn ranges(&self, table: &mut Table) -> Outcome {
        let blob = Blob::new(2, 64 * MIB);
        let world = self.world(std::slice::from_ref(&blob), 3).await?;
        let clients = (0..9).map(|number| world.client(number % 3, &blob).ranges());
        all(clients.collect()).await?;
        table.aim("the same in ranges", world.copies(64 * MIB), "×", 1.15);
        Ok(())
    }

    /// One replica whose spool has no room, and one with a spool on this machine's disk.
    async fn no_disk(&self, table: &mut Table) -> Outcome {
        let blobs: Vec<Blob> = (0..ROUNDS).map(|round| Blob::new(10 + round, 64 * MIB)).collect();
        let disk = TempDir::new().unwrap();
        let disk = disk.path().display().to_string();
        let (without, with) =
            ([("REGISTRY_PROXY_SPOOL_MAXSIZE", "1")], [("REGISTRY_PROXY_SPOOL_DIRECTORY", &disk[..])]);
        let spooling = self.before.as_ref().unwrap_or(&self.program);
        let mut slowest = Vec::new();
        for (program, variables) in [(&self.program, &without), (spooling, &with)] {
            let world = World::start(&blobs, CAPPED, (program, 1), variables).await?;
            let mut seconds = Vec::new();
            for blob in &blobs {
                let pulled = all((0..8).map(|_| world.client(0, blob).image()).collect()).await?;
                seconds.push(pulled.iter().map(|it| it.seconds).fold(0.0, f64::max));
                world.until_stored(blob).await;
            }
            if slowest.is_empty() {
                let what = "8 clients, no disk, 64 MiB: bytes from the upstream";
                table.aim(what, world.copies(64 * MIB * ROUNDS), "×", 1.05);
            }
            slowest.push(median(seconds));
        }
        table.aim("the slowest of them ÷ that with a spool", slowest[0] / slowest[1], "×", 1.3);
        table.note(format!(
            "the slowest of 8 clients: {:.2} s without a disk, {:.2} s with one",
            slowest[0], slowest[1]
        ));
        Ok(())
    }

    /// A client at another replica: at once, and once the filler's own client has its first byte.
    async fn first_byte(&self, table: &mut Table) -> Outcome {
        let blobs: Vec<Blob> = (0..2 * ROUNDS).map(|round| Blob::new(20 + round, 64 * MIB)).collect();
        let world = self.world(&blobs, 2).await?;
        let (mut added, mut own) = (Vec::new(), Vec::new());
        for (round, blob) in blobs.iter().enumerate() {
            let first = world.client(0, blob);
            let filling = first.image();
            if round % 2 == 1 {
                first.until(1).await;
            }
            let pulled = all(vec![filling, world.client(1, blob).image()]).await?;
            own.push(pulled[0].first_byte);
            added.push((pulled[1].first_byte - pulled[0].first_byte).abs());
            world.until_stored(blob).await;
        }
        let most = added.iter().copied().fold(0.0, f64::max);
        table.aim("a follower's first byte at another replica, beside the filler's own client: added", most, "s", 1.5);
        table.note(format!("first byte of the filler's own client: {:.3} s; added: {added:.3?} s", median(own)));
        Ok(())
    }

    /// Three replicas with a client each; the one that fills is killed.
    async fn killed(&self, table: &mut Table) -> Outcome {
        self.kill(table, 3, "filler killed at half of 1 GiB, a client at each of three replicas").await
    }

    /// The filler's only client goes on at a replica that knows nothing of the blob.
    async fn killed_alone(&self, table: &mut Table) -> Outcome {
        self.kill(table, 1, "the same with one client, at the filler").await
    }

    async fn kill(&self, table: &mut Table, clients: usize, what: &str) -> Outcome {
        let (mut seconds, mut copies) = (Vec::new(), 0.0);
        for kills in [false, true] {
            let blob = Blob::new(30 + u64::from(kills), GIB);
            let mut world = self.world(std::slice::from_ref(&blob), 3).await?;
            let first = world.client(0, &blob);
            let mut pulls = vec![first.image()];
            // By now the first one fills.
            world.until_sent(MIB).await;
            pulls.extend((1..clients).map(|replica| world.client(replica, &blob).image()));
            if kills {
                first.until(GIB / 2).await;
                drop(world.replicas.remove(0));
            }
            let pulled = all(pulls).await?;
            seconds.push(pulled.iter().map(|it| it.seconds).fold(0.0, f64::max));
            copies = world.copies(GIB);
        }
        table.aim(&format!("{what}: bytes from the upstream"), copies, "×", 1.1);
        table.aim("time added", seconds[1] - seconds[0], "s", 20.0);
        Ok(())
    }

    /// A client of each replica takes all of it as fast as it can; the others are slow, and hang up at its end.
    async fn large(&self, table: &mut Table) -> Outcome {
        let blob = Blob::new(40, 10 * GIB);
        let world = self.world(std::slice::from_ref(&blob), 3).await?;
        let mut slow = Vec::new();
        let fast = (0..3).map(|replica| world.client(replica, &blob).image()).collect();
        for number in 3..CLIENTS {
            let mut client = world.client(number % 3, &blob);
            client.rate = SLOW;
            slow.push((client.clone(), client.image()));
        }
        let pulled = all(fast).await?;
        world.until_stored(&blob).await;
        for (client, _) in &slow {
            client.leaves.store(true, Ordering::Relaxed);
        }
        all(slow.into_iter().map(|(_, pull)| pull).collect()).await?;
        let most = |of: fn(&Running) -> f64| world.replicas.iter().map(of).fold(0.0, f64::max);
        let what = "10 GiB, 20 clients, three replicas: the most memory of one";
        table.aim(what, most(Running::peak), "MiB", 300.0);
        // Its log is written, too.
        table.aim("the most bytes that one wrote to disk", most(Running::written), "MiB", 1.0);
        table.figure("bytes from the upstream", world.copies(10 * GIB), "×");
        let each = |of: fn(&Running) -> f64| world.replicas.iter().map(of).collect::<Vec<_>>();
        table.note(format!(
            "10 GiB: {:.0} s; memory at its peak {:.0?} MiB, at the end {:.0?} MiB; written {:.0?} MiB",
            pulled.iter().map(|it| it.seconds).fold(0.0, f64::max),
            each(Running::peak),
            each(Running::memory),
            each(Running::written)
        ));
        Ok(())
    }

    /// One reads the second GiB at the head, the other one meanwhile the first GiB.
    async fn behind(&self, table: &mut Table) -> Outcome {
        let blob = Blob::new(50, 9 * GIB / 4);
        let world = self.world(std::slice::from_ref(&blob), 1).await?;
        let head = world.client(0, &blob);
        let whole = head.image();
        let one = head.until(GIB).await;
        let behind = world.client(0, &blob).part(0..GIB);
        let at_head = head.until(2 * GIB).await - one;
        let behind = all(vec![behind]).await?[0].seconds;
        all(vec![whole]).await?;
        let at_head = at_head.as_secs_f64();
        table.aim("a reader 1 GiB behind the head ÷ one at the head: time of 1 GiB", behind / at_head, "×", 1.3);
        table.note(format!("1 GiB behind the head: {behind:.2} s; at the head: {at_head:.2} s"));
        Ok(())
    }

    async fn uncapped(&self, table: &mut Table) -> Outcome {
        let (mut now, mut earlier) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut programs = vec![(&self.program, &mut now)];
            if let Some(program) = &self.before {
                programs.push((program, &mut earlier));
            }
            // Neither is always the second.
            if round % 2 == 1 {
                programs.reverse();
            }
            for (program, seconds) in programs {
                let blob = Blob::new(60 + round, GIB);
                let world = World::start(std::slice::from_ref(&blob), UNLIMITED, (program, 1), &[]).await?;
                seconds.push(all(vec![world.client(0, &blob).image()]).await?[0].seconds);
                world.until_stored(&blob).await;
            }
        }
        let now = median(now);
        if earlier.is_empty() {
            table.figure("cold 1 GiB, uncapped, one client, one replica", now, "s");
        } else {
            let earlier = median(earlier);
            table.aim("cold 1 GiB, uncapped, one client, one replica: time ÷ that before", now / earlier, "×", 1.15);
            table.note(format!("cold 1 GiB, uncapped: {now:.2} s, before: {earlier:.2} s"));
        }
        Ok(())
    }

    /// One client of one replica, which asks for the blob only.
    async fn requests(&self, _: &mut Table) -> Outcome<Kept> {
        let blob = Blob::new(70, GIB);
        let world = self.world(std::slice::from_ref(&blob), 1).await?;
        let before = world.bucket.calls();
        all(vec![world.client(0, &blob).part(0..GIB)]).await?;
        world.until_stored(&blob).await;
        Ok(Kept { world, at: Instant::now(), before })
    }

    async fn requests_at_the_end(&self, table: &mut Table, Kept { world, at, before }: Kept) {
        tokio::time::sleep(GRACE.saturating_sub(at.elapsed())).await;
        let mut calls = world.bucket.calls();
        for (name, count) in &mut calls {
            *count -= before.get(name).copied().unwrap_or_default();
        }
        // Not of the fill: the bucket is asked now and then whether it is there, and swept.
        calls.retain(|name, count| *count > 0 && !["HeadBucket", "ListMultipartUploads"].contains(&&name[..]));
        let (all, heartbeats) =
            (calls.values().sum::<u64>(), calls.get("PutObject lease").copied().unwrap_or_default());
        let chunks = calls.get("PutObject chunk").copied().filter(|count| *count > 0).unwrap_or(64);
        #[expect(clippy::cast_precision_loss, reason = "some hundred")]
        table.aim(
            &format!("S3 requests for 1 GiB: {chunks} chunks, {heartbeats} writes of the lease"),
            all as f64,
            "",
            (3 * chunks + heartbeats) as f64,
        );
        table.note(format!("S3 requests for 1 GiB: {calls:?}"));
        let (fills, uploads) = world.bucket.leftovers();
        #[expect(clippy::cast_precision_loss, reason = "some")]
        table.aim("objects of fills and open uploads, 75 s later", (fills + uploads) as f64, "", 0.0);
    }
}

/// Waits for all of them.
async fn all(pulls: Vec<JoinHandle<Outcome<Pulled>>>) -> Outcome<Vec<Pulled>> {
    try_join_all(pulls.into_iter().map(|pull| async { pull.await.unwrap() })).await
}
