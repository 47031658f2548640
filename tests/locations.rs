//! An upload's locations (end-5, end-6, end-13): its offset at each of them, and repeated chunks.

use bytes::Bytes;

use crate::support::front::Calls;
use crate::support::image::{digest, noise};
use crate::support::requests::closing;
use crate::support::{FakeS3, Pounce, Reply, Rule, borrowed};

const MIB: usize = 1 << 20;

async fn chunk(pounce: &Pounce, location: &str, start: usize, bytes: Bytes) -> Reply {
    pounce.send(pounce.chunk(location, start, bytes)).await
}

/// An upload with chunks of these sizes; each of its locations, with its offset.
async fn upload(pounce: &Pounce, blob: &Bytes, sizes: &[usize]) -> Vec<(String, usize)> {
    let mut locations = vec![(pounce.begin("a/b").await, 0)];
    for size in sizes {
        let (location, at) = locations.last().unwrap().clone();
        let reply = chunk(pounce, &location, at, blob.slice(at..at + size)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        locations.push((reply.header("location").to_owned(), at + size));
    }
    locations
}

/// "The `<blob-push-location>` refers to the URL obtained from any preceding `POST` or `PATCH` request. The response to
/// an active upload `<blob-push-location>` MUST be a `204 No Content`", and its Range "the position of the last
/// uploaded byte".
#[tokio::test]
async fn end_13_the_status_at_any_location_is_the_last_byte() {
    let pounce = Pounce::with(&[]).await;
    for sizes in [vec![1000, 2000, 1], vec![12 * MIB, 3, 21 * MIB]] {
        let blob = noise(1, sizes.iter().sum::<usize>() + 10);
        let locations = upload(&pounce, &blob, &sizes).await;
        let (_, end) = locations.last().unwrap();
        for (location, _) in &locations {
            let status = pounce.get(location).await;
            assert_eq!(status.status, 204, "{status:?}");
            assert_eq!(status.header("range"), format!("0-{}", end - 1));
            // "A GET request may be used to retrieve the current valid offset and upload location."
            let again = pounce.get(status.header("location")).await;
            assert_eq!(again.header("range"), status.header("range"));
        }
        // The client that lost all answers since the beginning continues.
        let status = pounce.get(&locations[0].0).await;
        let more = blob.slice(*end..);
        let reply = chunk(&pounce, status.header("location"), *end, more).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let reply = pounce.close(reply.header("location"), &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
        pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
        // After the end, the other locations belong to no active upload.
        for (location, at) in &locations[1..] {
            let status = pounce.get(location).await;
            assert_eq!(status.status, 404, "{at}: {status:?}");
        }
    }
}

/// "Chunks MUST be uploaded in order, with the first byte of a chunk being the last chunk's `<end-of-range>` plus one.
/// If a chunk is uploaded out of order, the registry MUST respond with a `416 Requested Range Not Satisfiable` code."
#[tokio::test]
async fn end_5_a_replayed_chunk_is_416_and_says_where_to_go_on() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 25 * MIB);
    for sizes in [vec![1000, 2000], vec![11 * MIB, 12 * MIB]] {
        let locations = upload(&pounce, &blob, &sizes).await;
        let (_, end) = locations.last().unwrap();
        let before = pounce.scratch();
        for ((location, at), size) in locations.iter().zip(&sizes) {
            let bytes = blob.slice(*at..at + size);
            let range = format!("{at}-{}", at + size - 1);
            let closing = closing(location, &digest(&blob));
            let close = pounce.request("PUT", &closing);
            let close = close.header("content-range", range).body(bytes.clone());
            for reply in [
                chunk(&pounce, location, *at, bytes.clone()).await,
                // Without a range and a length.
                pounce.patch(location, bytes.clone()).await,
                // "If the final chunk is uploaded out of order, the registry MUST respond with a `416`".
                pounce.send(close).await,
            ] {
                assert_eq!((reply.status, &reply.code()[..]), (416, "RANGE_INVALID"));
                assert_eq!(reply.header("range"), format!("0-{}", end - 1));
                let status = pounce.get(reply.header("location")).await;
                assert_eq!(status.header("range"), reply.header("range"));
            }
        }
        assert_eq!(pounce.scratch(), before, "a replay writes nothing");
        let reply = chunk(&pounce, &locations[1].0, locations[1].1, blob.slice(..1)).await;
        let location = reply.header("location").to_owned();
        let reply = pounce.close(&location, &digest(&blob), blob.slice(*end..)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        pounce.delete(&format!("/v2/a/b/blobs/{}", digest(&blob))).await;
    }
}

/// "Each consecutive chunk upload SHOULD use the `<blob-push-location>` provided in the response to the previous chunk
/// upload": a client that stays at the first one sends each chunk's offset.
#[tokio::test]
async fn end_5_chunks_may_all_come_at_the_first_location() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 25 * MIB + 7);
    let location = pounce.begin("a/b").await;
    let mut at = 0;
    for size in [100, 12 * MIB, 5, 13 * MIB - 98] {
        let bytes = blob.slice(at..at + size);
        let reply = chunk(&pounce, &location, at, bytes).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        at += size;
    }
    let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
    // A whole blob may be sent to the first location, too, although chunks came before.
    let location = pounce.begin("a/b").await;
    chunk(&pounce, &location, 0, blob.slice(..100)).await;
    let other = noise(2, 1000);
    let reply = pounce.close(&location, &digest(&other), other).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// The client ends the state that it names, if that state has the digest.
#[tokio::test]
async fn end_6_an_older_state_is_ended_if_the_digest_is_its_own() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 13 * MIB);
    let locations = upload(&pounce, &blob, &[100, 12 * MIB]).await;
    let part = blob.slice(..100);
    let reply = pounce.close(&locations[1].0, &digest(&part), Bytes::new()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.pull("a/b", &digest(&part)).await, part);
}

/// A foreign object in a tail's place does not become a state of the upload.
#[tokio::test]
async fn a_state_that_the_bucket_makes_up_is_none() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let blob = noise(1, 3000);
    let one = upload(&pounce, &blob, &[1000]).await;
    let other = upload(&pounce, &blob, &[2000]).await;
    let tails: Vec<_> = s3.keys().into_iter().filter(|it| it.contains("chunk-")).collect();
    assert_eq!(tails.len(), 2, "{tails:?}");
    let id = |location: &str| location.split(['/', '?']).nth(6).unwrap().to_owned();
    let of = |location: &str| tails.iter().find(|it| it.contains(&id(location))).unwrap();
    let (mine, foreign) = (of(&one[0].0), of(&other[0].0));
    let (directory, _) = mine.rsplit_once('/').unwrap();
    let (_, name) = foreign.rsplit_once('/').unwrap();
    let made_up = format!("{directory}/{name}");
    for content in [
        s3.object(foreign).unwrap(),
        Bytes::from_static(b"\n"),
        Bytes::from_static(b"x\ny"),
        noise(9, 100_000),
        Bytes::new(),
    ] {
        s3.put(&made_up, content);
        let status = pounce.get(&one[1].0).await;
        assert!([404, 503].contains(&status.status), "{status:?}");
    }
    s3.remove(&made_up);
    assert_eq!(pounce.get(&one[0].0).await.header("range"), "0-999");
}

/// A bucket in a lagging region reads from its leader.
#[tokio::test]
async fn a_region_that_lags_takes_chunks_in_order() {
    let s3 = FakeS3::start(&[Rule::Lags(std::time::Duration::from_mins(1)), Rule::EqualParts]).await;
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    variables.push(("REGISTRY_HTTP_SECRET", "shared".into()));
    let replicas = [Pounce::with(&borrowed(&variables)).await, Pounce::with(&borrowed(&variables)).await];
    let blob = noise(1, 23 * MIB);
    let (mut location, mut at) = (replicas[0].begin("a/b").await, 0);
    let first = location.clone();
    for (index, size) in [100, 12 * MIB, 5, 10 * MIB].into_iter().enumerate() {
        let pounce = &replicas[index % 2];
        let reply = chunk(pounce, &location, at, blob.slice(at..at + size)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.header("location").clone_into(&mut location);
        at += size;
        let status = replicas[1 - index % 2].get(&first).await;
        assert_eq!(status.header("range"), format!("0-{}", at - 1));
    }
    let rest = blob.slice(at..);
    let reply = replicas[1].close(&location, &digest(&blob), rest).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn calls(of: &[(&'static str, usize)]) -> Calls {
    of.iter().copied().collect()
}

#[tokio::test]
async fn a_chunk_costs_one_listing_and_its_bytes() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let blob = noise(1, 40 * MIB);
    s3.take();
    let first = pounce.begin("a/b").await;
    assert_eq!(s3.take(), calls(&[]));
    let reply = chunk(&pounce, &first, 0, blob.slice(..1000)).await;
    assert_eq!(s3.take(), calls(&[("ListObjectsV2", 1), ("PutObject", 1)]));
    let location = reply.header("location").to_owned();
    let reply = chunk(&pounce, &location, 1000, blob.slice(1000..3000)).await;
    let expected = [("GetObject", 1), ("ListObjectsV2", 1), ("PutObject", 1)];
    assert_eq!(s3.take(), calls(&expected));
    // A first chunk that is repeated stores its bytes beside the listing, finds the others', and takes its own back.
    chunk(&pounce, &first, 0, blob.slice(..1000)).await;
    let repeated = [("DeleteObject", 1), ("GetObject", 1), ("ListObjectsV2", 2), ("PutObject", 1)];
    assert_eq!(s3.take(), calls(&repeated));
    // A status request.
    let second = reply.header("location").to_owned();
    assert_eq!(pounce.get(&second).await.status, 204);
    assert_eq!(s3.take(), calls(&[("HeadObject", 1), ("ListObjectsV2", 1)]));
    let reply = chunk(&pounce, &second, 3000, blob.slice(3000..25 * MIB)).await;
    let mut expected = expected.to_vec();
    // Bytes that no location needs any more are deleted.
    expected.extend([("CreateMultipartUpload", 1), ("DeleteObject", 1), ("UploadPart", 2)]);
    pounce.until_quiet().await;
    assert_eq!(s3.take(), calls(&expected));
    let location = reply.header("location").to_owned();
    let rest = blob.slice(25 * MIB..);
    let reply = pounce.close(&location, &digest(&blob), rest).await;
    assert_eq!(reply.status, 201);
}
