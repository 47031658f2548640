//! The requests of a survey, and what it remembers for the next one.

use pounce::internals::{SurveyRules, survey};
use pounce::store::Key;
use serde_json::{Value, json};

use super::layout::{
    Bucket, From, OLD, ROOT, blob_key, candidates, history_key, image, layer_key, revision_key, store, surveyed,
    tag_key,
};
use crate::support::{FakeS3, Rule, borrowed};

const SEGMENT: &str = "pounce/gc/manifests/00";

fn rules() -> SurveyRules {
    SurveyRules { asks_origins: true, ..SurveyRules::default() }
}

/// LISTs, GETs of tags, of origins, of manifests and of the memory, and PUTs.
fn requests(survey: &Value) -> [u64; 6] {
    let requests = &survey["totals"]["requests"];
    ["lists", "tags", "origins", "manifests", "known", "writes"].map(|of| requests[of].as_u64().unwrap())
}

/// 40 repositories, each with a tag and two manifests, of which all have one.
fn fill(s3: &FakeS3) {
    let config = s3.blob("{}");
    for n in 0..40 {
        let name = format!("r{n}");
        s3.image(&name, "v1", From::Upstream);
        s3.manifest(&name, From::Push, &image(&config, &[]));
    }
    s3.age("", OLD);
}

#[tokio::test]
async fn a_manifest_is_read_once_and_never_again() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    s3.take();
    let first = surveyed(&s3, &rules()).await;
    // 40 × (2 layer links, 2 revisions, 2 of the tag) = 240 keys, and 122 blobs: a page each.
    assert_eq!(requests(&first), [2, 40, 80, 41, 2, 1]);
    let calls = s3.take();
    // One of the connection's start, none that is not counted.
    assert_eq!((calls["ListObjectsV2"], calls["GetObject"], calls["PutObject"]), (2, 40 + 80 + 41 + 2, 1));
    let second = surveyed(&s3, &rules()).await;
    assert_eq!(requests(&second), [2, 40, 0, 0, 2, 0], "nothing is new, and nothing is written");
    for of in ["candidates", "repositories"] {
        assert_eq!(first[of], second[of]);
    }
    for of in ["pushed", "upstream", "unnamed", "blobs"] {
        assert_eq!(first["totals"][of], second["totals"][of]);
    }
    // A manifest more, and one whose link was written anew, by a push.
    let [new, ..] = s3.image("r7", "v2", From::Push);
    let [digest, ..] = s3.image("r8", "v1", From::Upstream);
    Bucket::put(&s3, &revision_key("r8", &digest), digest.clone().into(), &[]);
    s3.age(&revision_key("r7", &new), OLD);
    s3.age(&revision_key("r8", &digest), OLD * 2);
    let third = surveyed(&s3, &rules()).await;
    assert_eq!(requests(&third), [2, 41, 2, 1, 2, 1]);
    assert_eq!(third["totals"]["pushed"]["count"], 2 + 3 + 3);
    assert_eq!(requests(&surveyed(&s3, &rules()).await), [2, 41, 0, 0, 2, 0]);
}

#[tokio::test]
async fn origins_are_asked_where_they_count() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    let first = surveyed(&s3, &SurveyRules::default()).await;
    assert_eq!(requests(&first), [2, 40, 0, 41, 2, 1]);
    assert_eq!(requests(&surveyed(&s3, &rules()).await), [2, 40, 80, 0, 2, 1]);
    assert_eq!(requests(&surveyed(&s3, &SurveyRules::default()).await), [2, 40, 0, 0, 2, 0]);
    assert_eq!(requests(&surveyed(&s3, &rules()).await), [2, 40, 0, 0, 2, 0], "they are not forgotten");
}

#[tokio::test]
async fn a_corrupt_memory_counts_for_nothing_and_is_written_anew() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    surveyed(&s3, &rules()).await;
    let good = s3.object(SEGMENT).unwrap();
    for bad in [Vec::new(), b"pounce manifests 1\n".to_vec(), good[..good.len() - 1].to_vec(), {
        let mut bytes = good.to_vec();
        bytes[1000] ^= 1;
        bytes
    }] {
        s3.put(SEGMENT, bad);
        let found = surveyed(&s3, &rules()).await;
        assert_eq!(requests(&found)[2..4], [80, 41]);
        assert_eq!(s3.object(SEGMENT).unwrap().len(), good.len());
        assert_eq!(requests(&surveyed(&s3, &rules()).await)[2..4], [0, 0]);
    }
    // More than is ever read of it.
    s3.put(SEGMENT, vec![0; 6 << 20]);
    assert_eq!(requests(&surveyed(&s3, &rules()).await)[2..4], [80, 41]);
    assert_eq!(s3.object(SEGMENT).unwrap().len(), good.len());
}

#[tokio::test]
async fn a_bucket_that_takes_no_writes_is_surveyed() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    let orphan = s3.blob("an orphan");
    s3.age(&blob_key(&orphan), OLD);
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    s3.on("PutObject", usize::MAX, move |_| async move { Some((403, Vec::new(), denied.into())) });
    let found = surveyed(&s3, &rules()).await;
    assert_eq!(candidates(&found), super::set([blob_key(&orphan)]));
    assert_eq!(found["totals"]["spilled"], json!(false));
}

/// The bytes of a manifest that is remembered are gone. One survey sees it, and the next one does not believe what is
/// remembered.
#[tokio::test]
async fn a_known_manifest_whose_bytes_are_gone() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    surveyed(&s3, &rules()).await;
    let [digest, config, layer] = s3.image("r7", "v1", From::Upstream);
    s3.age("", OLD);
    s3.remove(&blob_key(&digest));
    let found = surveyed(&s3, &rules()).await;
    assert_eq!((&found["totals"]["gone"], candidates(&found).len()), (&json!(1), 0));
    for _ in 0..2 {
        let found = surveyed(&s3, &rules()).await;
        let gone = candidates(&found);
        let links = [revision_key("r7", &digest), tag_key("r7", "v1"), history_key("r7", "v1", &digest)];
        let layers = [&config, &layer].map(|blob| [layer_key("r7", blob), blob_key(blob)]);
        assert_eq!(gone, links.into_iter().chain(layers.into_iter().flatten()).collect());
        assert_eq!(requests(&found)[3], 1, "it may be pushed anew");
    }
    s3.blob(image(&config, &[&layer]).to_string());
    let found = surveyed(&s3, &rules()).await;
    assert_eq!((&found["totals"]["gone"], candidates(&found).len()), (&json!(0), 0));
    assert_eq!(requests(&surveyed(&s3, &rules()).await)[3], 0);
}

/// A bucket that lists nothing behind some repository, as if there were nothing.
fn lists_until(s3: &FakeS3, last: &str) {
    let directory = format!("{ROOT}/repositories/");
    let end = format!("{directory}{last}0");
    let keys = s3.keys().into_iter().filter(|key| key.starts_with(&directory) && *key < end);
    let listed = keys.map(|key| {
        format!("<Contents><Key>{key}</Key><Size>71</Size><LastModified>2020-01-01T00:00:00Z</LastModified></Contents>")
    });
    let listed: String = listed.collect();
    let body = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>");
    s3.on("ListObjectsV2", usize::MAX, move |seen| {
        let said = seen.path.contains("repositories").then(|| (200, Vec::new(), body.clone().into()));
        async move { said }
    });
}

#[tokio::test]
async fn a_list_that_lacks_what_is_there_is_no_survey() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    let client = store(&borrowed(&s3.variables())).await;
    surveyed(&s3, &rules()).await;
    let remembered = s3.object(SEGMENT);
    // All of them, a part, and the last one only.
    for last in ["q", "r20", "r8"] {
        lists_until(&s3, last);
        for _ in 0..2 {
            let error = survey(&client, &rules()).await.unwrap_err();
            assert!(error.contains("its list is not whole: it lacks docker/registry/v2/repositories/r"), "{error}");
            assert_eq!(s3.object(SEGMENT), remembered, "what it lacks is not forgotten");
        }
        s3.forget_hooks();
    }
    assert_eq!(requests(&surveyed(&s3, &rules()).await), [2, 40, 0, 0, 2, 0]);
    // What was deleted since is not there, and what was pushed again is young.
    for key in s3.keys().iter().filter(|key| key.contains("/repositories/r1")) {
        s3.remove(key);
    }
    let [again, ..] = s3.image("r9", "v1", From::Upstream);
    lists_until(&s3, "r8");
    s3.put(&revision_key("r9", &again), again.clone());
    for key in s3.keys().iter().filter(|key| key.contains("/repositories/r9") && !key.contains(&again[7..])) {
        s3.remove(key);
    }
    // 11 repositories and two manifests in each: all are looked for.
    let found = surveyed(&s3, &rules()).await;
    assert_eq!((requests(&found)[4], &found["totals"]["manifests"]), (2 + 24, &json!(56)));
}

/// A client deletes a tag: no history tells when that was.
#[tokio::test]
async fn the_first_survey_without_a_tag_is_remembered() {
    let s3 = FakeS3::start(&[]).await;
    let [tagged, config, _] = s3.image("a", "v1", From::Push);
    let bare = s3.manifest("a", From::Push, &image(&config, &[]));
    s3.age("", OLD);
    let rules = || SurveyRules { shows_facts: true, ..rules() };
    let client = store(&borrowed(&s3.variables())).await;
    let mut seen = Vec::new();
    for clock in [-800, -600, -400, -200] {
        s3.rules(&[Rule::Clock(clock)]);
        if clock == -600 {
            for key in [tag_key("a", "v1"), history_key("a", "v1", &tagged)] {
                assert!(s3.remove(&key));
            }
        }
        if clock == -200 {
            s3.tag("a", "v2", From::Push, &bare);
        }
        // The answer tells the clock.
        client.exists(Key::GcState).await.unwrap();
        let facts = &survey(&client, &rules()).await.unwrap()["facts"][0]["manifests"];
        seen.push([&tagged, &bare].map(|digest| facts[digest]["untagged"].as_u64()));
    }
    let [first, second, third, fourth] = seen[..] else { unreachable!() };
    assert!(first[0].is_none() && first[1].is_some(), "{seen:?}");
    let lost = second[0].unwrap() - first[1].unwrap();
    assert!((195..300).contains(&lost), "{seen:?}");
    assert_eq!((second[1], third), (first[1], second), "the first one counts");
    assert_eq!(fourth, [second[0], None]);
}
