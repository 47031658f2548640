//! Injected faults: a few rounds of all that `make torture` does at length.

use std::time::Duration;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::digest;
use crate::support::{Image, Pounce, borrowed};
use crate::torture::kills::Moment;
use crate::torture::races::Race;
use crate::torture::{bucket, ending, fleet, kills, outages, races, soak};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_kill() {
    for moment in Moment::ALL {
        kills::at(moment, 4, 11).await.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_bucket_loses_nothing() {
    // Without those faults that take long.
    let faults: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| ![Fault::Hang, Fault::Delay].contains(fault)).collect();
    let row = bucket::with("all", &faults, 5, 60, 11).await;
    row.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_few_times_is_tried_again() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let variables = bucket.as_s3_behind(front.addr);
    let variables = borrowed(&variables);
    let pounce = Pounce::with(&variables).await;
    let image = Image::new(1, &[12 << 20, 100]);
    for fault in [Fault::LostComplete, Fault::LostAnswer, Fault::Internal] {
        let tag = format!("{fault:?}");
        front.inject_few(fault, 2);
        pounce.push_image("a/b", &tag, &image).await;
        // A replica without caches has to read everything.
        let fresh = Pounce::with(&variables).await;
        front.inject_few(Fault::Cut, 2);
        let read = fresh.get(&format!("/v2/a/b/manifests/{tag}")).await;
        assert_eq!((read.status, &read.body), (200, &image.manifest));
        front.inject(&[], 0);
        assert_eq!(fresh.pull("a/b", &digest(image.layer())).await, image.layer());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_that_was_not_heard_is_looked_up_where_it_was_done() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    front.lag(true);
    front.inject_few(Fault::LostComplete, 1);
    pounce.push_image("a/b", "v1", &Image::new(1, &[12 << 20])).await;
    assert_eq!(front.take(), [(Fault::LostComplete, 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_deleted_is_gone_for_it_wherever_it_reads() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    variables.push(("REGISTRY_STORAGE_DELETE_ENABLED", "true".into()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &image).await;
    front.lag(true);
    let path = format!("/v2/a/b/manifests/{}", image.digest());
    let deleted = pounce.send(pounce.request("DELETE", &path)).await;
    assert_eq!(deleted.status, 202);
    assert_eq!(pounce.get(&path).await.status, 404);
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_upstream_gets_nothing_wrong_into_anything() {
    fleet::misled(8, 6, 10, 11).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_warm_outlives_its_upstream() {
    outages::upstream(2, false).await.assert_clean();
    outages::upstream(2, true).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_away_is_used_again() {
    outages::bucket(2, false).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_race_into_states_that_make_sense() {
    for race in Race::ALL {
        races::run(race, 5, 11).await.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_under_load_loses_no_request() {
    ending::under_load(3).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_work_leaves_nothing_behind() {
    soak::soak(Duration::from_secs(3), 200, false).await.assert_clean();
}
