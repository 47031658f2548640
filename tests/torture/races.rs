//! Replicas that do the same operation at the same time, over one bucket.

use std::pin::Pin;
use std::time::Duration;

use super::client::{Client, Outcome, Way, until_probe};
use super::ledger::{audit, audit_manifests};
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::image::digest;
use crate::support::{Image, Pounce, Upstream, borrowed};

const PATIENCE: Duration = Duration::from_mins(1);
const NAME: &str = "tortured/race";

/// The two replicas' concurrent operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// They fill the same blobs.
    Fills,
    /// They push different images to one tag.
    Tag,
    /// They push the same blob.
    Blob,
    /// One deletes the image that the other pushes.
    DeleteAndPush,
    /// One deletes the image of a tag, while the other one pushes another image to the tag.
    DeleteAndMove,
}

impl Race {
    pub const ALL: [Self; 5] = [Self::Fills, Self::Tag, Self::Blob, Self::DeleteAndPush, Self::DeleteAndMove];

    fn describe(self) -> &'static str {
        match self {
            Self::Fills => "two replicas fill the same blobs",
            Self::Tag => "two replicas push the same tag",
            Self::Blob => "two replicas push the same blob",
            Self::DeleteAndPush => "one replica deletes what another one pushes",
            Self::DeleteAndMove => "one replica deletes what a tag meant that another one pushes to",
        }
    }
}

struct Pair {
    bucket: Pounce,
    upstream: Upstream,
    _replicas: [Pounce; 2],
    clients: [Client; 2],
}

impl Pair {
    async fn start(pulls: bool) -> Self {
        let (bucket, upstream) = (Pounce::with(&[]).await, Upstream::start().await);
        let url = upstream.url();
        let mut variables = bucket.as_s3();
        variables.push(("REGISTRY_HTTP_SECRET", "shared".into()));
        variables.push(("REGISTRY_STORAGE_DELETE_ENABLED", "true".into()));
        if pulls {
            variables.push(("REGISTRY_PROXY_REMOTEURL", url));
        }
        let variables = borrowed(&variables);
        let replicas = [Pounce::with(&variables).await, Pounce::with(&variables).await];
        let clients = [&replicas[0], &replicas[1]].map(|replica| Client::of(replica.addr, PATIENCE));
        Self { bucket, upstream, _replicas: replicas, clients }
    }

    /// A process without caches.
    async fn fresh(&self) -> Pounce {
        Pounce::with(&borrowed(&self.bucket.as_s3())).await
    }
}

/// Runs so many rounds of a race.
pub async fn run(race: Race, rounds: usize, seed: u64) -> Row {
    let mut row = Row::new(race.describe());
    let pair = Pair::start(race == Race::Fills).await;
    let dice = Dice::new(seed);
    for round in 0..rounds {
        let tag = format!("r{round}");
        let image = |number| Image::new(seed * 10_000 + round as u64 * 2 + number, &[200_000, 6 << 20]);
        let images = [image(0), image(1)];
        let late = dice.up_to(Duration::from_millis(30));
        let outcomes = once(race, &pair, &tag, &images, late).await;
        row.injected += 1;
        let [one, other] = outcomes.clone();
        if [Race::DeleteAndPush, Race::DeleteAndMove].contains(&race) {
            row.count_refusable("delete", one);
            row.count_refusable("push", other);
        } else {
            row.count(&tag, one);
            row.count(&tag, other);
        }
        settle(race, &pair, &tag, &images, &outcomes, &mut row).await;
    }
    audit(&pair.bucket.root(), &mut row);
    if race != Race::Fills {
        audit_manifests(&pair.bucket.root(), &mut row);
    }
    row
}

async fn once(race: Race, pair: &Pair, tag: &str, images: &[Image; 2], late: Duration) -> [Outcome; 2] {
    let [first, second] = &pair.clients;
    let (one, other): (Boxed<'_>, Boxed<'_>) = match race {
        Race::Fills => {
            pair.upstream.add(NAME, tag, &images[0]);
            (Box::pin(pulled(first, tag)), Box::pin(pulled(second, tag)))
        }
        Race::Tag => (
            Box::pin(first.push(NAME, tag, &images[0], Way::Whole)),
            Box::pin(second.push(NAME, tag, &images[1], Way::Whole)),
        ),
        Race::Blob => (
            Box::pin(first.push(NAME, tag, &images[0], Way::Chunks)),
            Box::pin(second.push(NAME, tag, &images[0], Way::Streamed)),
        ),
        Race::DeleteAndPush => {
            first.push(NAME, tag, &images[0], Way::Whole).await.unwrap();
            let digest = images[0].digest();
            (
                Box::pin(async move { first.delete(NAME, &digest).await }),
                Box::pin(second.push_manifest(NAME, tag, &images[0])),
            )
        }
        Race::DeleteAndMove => {
            first.push(NAME, tag, &images[0], Way::Whole).await.unwrap();
            for blob in &images[1].blobs {
                second.push_blob(NAME, blob, Way::Whole).await.unwrap();
            }
            let digest = images[0].digest();
            (
                Box::pin(async move { first.delete(NAME, &digest).await }),
                Box::pin(second.push_manifest(NAME, tag, &images[1])),
            )
        }
    };
    let other = async {
        tokio::time::sleep(late).await;
        other.await
    };
    tokio::join!(one, other).into()
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

async fn pulled(client: &Client, tag: &str) -> Outcome {
    client.pull(NAME, tag).await.map(drop)
}

/// Checks the result of a race, as a process without caches sees it.
async fn settle(race: Race, pair: &Pair, tag: &str, images: &[Image; 2], outcomes: &[Outcome; 2], row: &mut Row) {
    let fresh = pair.fresh().await;
    let client = Client::of(fresh.addr, PATIENCE);
    row.operations += 1;
    if race == Race::Fills {
        // The tag is written in the background.
        let tag = format!("/v2/{NAME}/manifests/{tag}");
        until_probe(&client, &tag, 200).await;
    }
    let read = client.manifest(NAME, tag).await.map(|bytes| digest(&bytes));
    let fine = match race {
        Race::Fills | Race::Blob => read == Ok(images[0].digest()),
        Race::Tag => images.iter().any(|image| read == Ok(image.digest())),
        Race::DeleteAndMove => read == Ok(images[1].digest()) || outcomes[1].is_err(),
        Race::DeleteAndPush => match &read {
            Ok(found) => *found == images[0].digest(),
            // A delete that may have succeeded explains the absence, or a push that failed.
            Err(trouble) => trouble.is_absence() && (outcomes[0].is_ok() || outcomes[1].is_err()),
        },
    };
    if !fine {
        let text = format!("{race:?} {tag}: {read:?} after {outcomes:?}");
        match read {
            Err(trouble) if trouble.is_absence() => row.lost.push(text),
            _ => row.wrong.push(text),
        }
        return;
    }
    if race == Race::DeleteAndMove && outcomes[0].is_ok() {
        row.operations += 1;
        match client.manifest(NAME, &images[0].digest()).await {
            Err(trouble) if trouble.is_absence() => {}
            other => row.wrong.push(format!("{tag} was deleted: {other:?}")),
        }
    }
    if read.is_ok() {
        if race == Race::Fills {
            // The fresh process has no upstream, so it can only serve stored blobs.
            for blob in &images[0].blobs {
                until_probe(&client, &format!("/v2/{NAME}/blobs/{}", digest(blob)), 307).await;
            }
        }
        row.operations += 1;
        if let Err(trouble) = client.pull(NAME, tag).await {
            row.wrong.push(format!("{race:?} {tag}: {trouble:?} after {outcomes:?}"));
        }
    }
}
