//! An upstream that misbehaves in every known way, while a fleet pulls, whole and in ranges.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Client, Trouble, with_retries};
use super::ledger::audit;
use super::report::Row;
use crate::support::dice::Dice;
use crate::support::image::digest;
use crate::support::ranged::{Form, Shape};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const PATIENCE: Duration = Duration::from_mins(5);
const NAME: &str = "tortured/image";
/// How often a client tries before it gives up; docker and containerd try five times.
const ATTEMPTS: usize = 5;

/// So many clients, each of which pulls so many images.
pub async fn misled(clients: usize, images: usize, percent: u64, seed: u64) -> Row {
    let mut row = Row::new(format!(
        "upstream misbehaving in {} ways, {percent} % each; {clients} clients, two of three in ranges, {images} images",
        moods().len()
    ));
    let upstream = Upstream::start().await;
    let images: Vec<Image> = (0..images as u64)
        .map(|number| {
            // Every fifth image has a layer that comes in several segments.
            let large = if number % 5 == 0 { 10_000_000 } else { 2_500_000 };
            Image::new(seed * 1000 + number, &[300_000, 100, large, 70_000])
        })
        .collect();
    for (number, image) in images.iter().enumerate() {
        upstream.add(NAME, &format!("v{number}"), image);
    }
    upstream.behave(Manners { ranges: true, ..Manners::default() });
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_FILL_STALLTIMEOUT", "1s"),
        ("REGISTRY_PROXY_PREFETCH", "true"),
        // Larger layers come over several connections.
        ("REGISTRY_PROXY_FILL_CONNECTIONS", "3"),
    ])
    .await;
    upstream.behave_at_random(moods(), percent, seed);
    let (shared, dice) = (Arc::new(images), Arc::new(Dice::new(seed)));
    let mut fleet = JoinSet::new();
    for number in 0..clients {
        let mut client = Client::of(pounce.addr, PATIENCE);
        // Two of three pull in ranges, as newer clients do.
        if number % 3 > 0 {
            client = client.in_ranges(shape(&dice));
        }
        let (images, dice) = (Arc::clone(&shared), Arc::clone(&dice));
        fleet.spawn(async move {
            let mut outcomes = Vec::new();
            for _ in 0..images.len() {
                let number = usize::try_from(dice.below(images.len() as u64)).unwrap();
                outcomes.push(pull(&client, number, &images[number]).await);
            }
            outcomes
        });
    }
    let outcomes: Vec<_> = fleet.join_all().await.into_iter().flatten().collect();
    // After wrong bytes, pounce can only break the connection; now and then this happens five times in a row.
    let most = outcomes.len() / 20;
    for outcome in outcomes {
        match outcome {
            Err(Trouble::Broken(_)) if row.refused < most => {
                row.operations += 1;
                row.refused += 1;
            }
            outcome => row.count_refusable("pull", outcome),
        }
    }
    row.injected = upstream.recover();
    // Once the upstream behaves, every pull succeeds.
    let client = Client::of(pounce.addr, PATIENCE);
    for (number, image) in shared.iter().enumerate() {
        let pulled = pull(&client, number, image).await;
        row.count(&format!("v{number}, afterwards"), pulled);
    }
    audit(&pounce.root(), &mut row);
    row
}

async fn pull(client: &Client, number: usize, image: &Image) -> Result<(), Trouble> {
    let tag = format!("v{number}");
    let manifest = with_retries(ATTEMPTS, || client.pull(NAME, &tag)).await?;
    if digest(&manifest) != image.digest() {
        let text = format!("{tag} is {}", digest(&manifest));
        return Err(Trouble::Wrong(text));
    }
    Ok(())
}

/// How one of the clients in ranges cuts blobs.
fn shape(dice: &Dice) -> Shape {
    let parallel = *dice.of(&[1, 3, 4, 16]);
    let chunk = *dice.of(&[50_000, 100_000, 500_000, 1_000_000]);
    Shape { parallel, chunk, form: *dice.of(&[Form::Open, Form::Closed]) }
}

/// Every kind of misbehaviour.
fn moods() -> Vec<Manners> {
    let well = || Manners { ranges: true, ..Manners::default() };
    vec![
        Manners { status: Some(500), ..well() },
        Manners { status: Some(503), retry_after: Some("1".into()), ..well() },
        Manners { status: Some(429), retry_after: Some("1".into()), ..well() },
        Manners { corrupts: true, ..well() },
        Manners { cuts_after: Some(40_000), ..well() },
        Manners { holds_after: Some(30_000), ..well() },
        Manners { ranges: false, ..well() },
        Manners { refuses_ranges: true, ..well() },
        Manners { shifts_ranges: true, ..well() },
        Manners { wanders: true, ..well() },
        Manners { etags: true, ..well() },
        Manners { changes_after: Some(0), ..well() },
        Manners { busy: Some((1, 429, "1")), ..well() },
        Manners { claims: Some(50), ..well() },
        Manners { claims: Some(5_000_000), ..well() },
        Manners { sends_html: true, ..well() },
        Manners { chunked: true, ..well() },
        Manners { hides_digests: true, ..well() },
    ]
}
