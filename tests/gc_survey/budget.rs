//! `storage.maxsize`: what was not used for longest goes until the rest fits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use pounce::internals::{Ruled, SurveyRules};

use super::layout::{Bucket, From, OLD, blob_key, candidates, image, layer_key, revision_key, surveyed, tag_key};
use crate::support::FakeS3;

const BIG: usize = 100_000;

/// An image of an upstream with a layer of this many bytes, and the digests of manifest and layer.
fn big(s3: &FakeS3, name: &str, fill: u8) -> [String; 2] {
    let layer = s3.layer(name, vec![fill; BIG]);
    let digest = s3.manifest(name, From::Upstream, &image(&layer, &[]));
    s3.tag(name, "v1", From::Upstream, &digest);
    [digest, layer]
}

/// Rules by which what came from an upstream may go, in the order of these days of its last use.
fn rules(max_size: usize, days: &[(&String, u64)]) -> SurveyRules {
    let now = SystemTime::now();
    let used = |days: u64| now - Duration::from_hours(24 * days);
    let used: BTreeMap<String, SystemTime> =
        days.iter().map(|(digest, days)| ((*digest).clone(), used(*days))).collect();
    SurveyRules {
        max_size: Some(max_size as u64),
        asks_origins: true,
        manifest: Box::new(move |_, is_pushed, digest| match used.get(&digest.to_string()) {
            Some(used) if !is_pushed => Ruled::Used(*used),
            _ => Ruled::Keep,
        }),
        ..SurveyRules::default()
    }
}

#[tokio::test]
async fn the_oldest_go_with_all_that_names_them() {
    let s3 = FakeS3::start(&[]).await;
    let [old, old_layer] = big(&s3, "a", 1);
    let [middle, middle_layer] = big(&s3, "b", 2);
    let [new, _] = big(&s3, "c", 3);
    // Pushed content counts, and stays; a layer that two have goes with the last of them.
    let pushed = s3.manifest("own", From::Push, &image(&s3.layer("own", vec![4; BIG]), &[]));
    let sharing = s3.manifest("c", From::Upstream, &image(&old_layer, &[&old_layer]));
    Bucket::put(&s3, &layer_key("c", &old_layer), old_layer.clone().into(), &[]);
    s3.age("", OLD);
    let days = [(&old, 40), (&middle, 30), (&new, 20), (&sharing, 25), (&pushed, 90)];
    let of = async |max_size| surveyed(&s3, &rules(max_size, &days)).await;
    let slack = 5000;
    assert_eq!(candidates(&of(4 * BIG + slack).await), BTreeSet::new());
    let found = of(3 * BIG + slack).await;
    let gone = candidates(&found);
    for key in [tag_key("a", "v1"), revision_key("a", &old), revision_key("b", &middle)] {
        assert!(gone.contains(&key), "{key}");
    }
    assert!(!gone.contains(&revision_key("c", &sharing)));
    // Two manifests and a layer: another repository needs the other layer, and used it later.
    let goes = &found["totals"]["goes"]["blobs"];
    assert!(goes["count"] == 3 && goes["bytes"].as_u64().unwrap() > BIG as u64, "{goes}");
    assert!(!gone.contains(&blob_key(&middle_layer)), "it goes once its manifest is gone");
    assert_eq!(found["totals"]["by_reason"].as_object().unwrap().keys().collect::<Vec<_>>(), ["budget"]);
    let found = of(2 * BIG + slack).await;
    let gone = candidates(&found);
    assert!(gone.contains(&revision_key("c", &sharing)));
    assert!(!gone.contains(&revision_key("c", &new)));
    let all_but_pushed = candidates(&of(0).await);
    assert!(all_but_pushed.contains(&revision_key("c", &new)));
    assert!(!all_but_pushed.iter().any(|key| key.contains("/own/") || *key == blob_key(&pushed)));
}

#[tokio::test]
async fn what_nothing_needs_is_not_counted() {
    let s3 = FakeS3::start(&[]).await;
    let [old, _] = big(&s3, "a", 1);
    let orphan = s3.blob(vec![2; 10 * BIG]);
    s3.age("", OLD);
    let found = surveyed(&s3, &rules(2 * BIG, &[(&old, 40)])).await;
    assert_eq!(candidates(&found), super::set([blob_key(&orphan)]));
    // Bytes that came a moment ago count, and what was used a moment ago stays.
    s3.blob(vec![3; 10 * BIG]);
    let gone = candidates(&surveyed(&s3, &rules(2 * BIG, &[(&old, 0)])).await);
    assert_eq!(gone, super::set([blob_key(&orphan)]));
    let gone = candidates(&surveyed(&s3, &rules(2 * BIG, &[(&old, 40)])).await);
    assert!(gone.contains(&revision_key("a", &old)));
}
