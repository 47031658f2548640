//! What a survey does with what it cannot read, or does not understand: it decides nothing of that.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pounce::internals::{SurveyRules, survey};
use serde_json::{Value, json};

use super::expire;
use super::layout::{
    Bucket, From, OLD, ROOT, blob_key, candidates, entry, history_key, image, index, layer_key, referrer_key,
    revision_key, set, store, surveyed, tag_key,
};
use crate::support::image::digest;
use crate::support::{FakeS3, Rule, borrowed};

/// A bucket with a repository of which everything may go, an orphan, and a layer link without a manifest.
struct Ordinary {
    s3: FakeS3,
    gone: [String; 3],
    orphan: String,
    unlinked: String,
}

impl Ordinary {
    async fn new(rules: &[Rule]) -> Self {
        let s3 = FakeS3::start(rules).await;
        let gone = s3.image("gone", "v1", From::Push);
        let orphan = s3.blob("an orphan");
        let unlinked = s3.layer("other", "unlinked");
        Self { s3, gone, orphan, unlinked }
    }

    fn rules(&self) -> SurveyRules {
        expire(&[&self.gone[0]], &["v1"])
    }

    async fn survey(&self) -> Value {
        self.s3.age("", OLD);
        surveyed(&self.s3, &self.rules()).await
    }

    /// What goes, besides blobs; what the image names, and its bytes, go once its links are gone.
    fn links(&self) -> BTreeSet<String> {
        let manifest = &self.gone[0];
        set([
            tag_key("gone", "v1"),
            history_key("gone", "v1", manifest),
            revision_key("gone", manifest),
            layer_key("other", &self.unlinked),
        ])
    }

    fn all(&self) -> BTreeSet<String> {
        let mut all = self.links();
        all.extend([&self.orphan, &self.unlinked].map(|digest| blob_key(digest)));
        all
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_keeps_its_repository_and_every_blob() {
    for bytes in [&b"not JSON"[..], b"{}", &vec![b' '; (4 << 20) + 1]] {
        let bucket = Ordinary::new(&[]).await;
        let s3 = &bucket.s3;
        let corrupt = s3.manifest("bad", From::Push, &json!({"schemaVersion": 2}));
        s3.put(&blob_key(&corrupt), bytes.to_vec());
        s3.tag("bad", "v1", From::Push, &corrupt);
        s3.layer("bad", "it may need this");
        let found = bucket.survey().await;
        assert_eq!(candidates(&found), bucket.links());
        let totals = &found["totals"];
        assert_eq!((&totals["unreadable_manifests"], &totals["kept_whole"]), (&json!(1), &json!(1)));
        assert_eq!(totals["unreadable"], json!([blob_key(&corrupt)]));
        // The budget would take links, and make no room.
        let rules = SurveyRules { max_size: Some(1), ..bucket.rules() };
        assert_eq!(candidates(&surveyed(s3, &rules).await), bucket.links());
    }
}

#[tokio::test]
async fn a_large_manifest_is_read_and_all_that_it_names_is_needed() {
    let s3 = FakeS3::start(&[]).await;
    let layers: Vec<String> = (0..500).map(|n| s3.layer("a", format!("layer {n}"))).collect();
    let absent: Vec<String> = (0..20_000).map(|n| digest(format!("absent {n}").as_bytes())).collect();
    let all: Vec<&str> = layers.iter().chain(&absent).map(String::as_str).collect();
    let mut manifest = image(&layers[0], &all);
    let len = manifest.to_string().len();
    manifest["annotations"] = json!({"a": "x".repeat((4 << 20) - len - 24)});
    assert!((4 << 20) - 10 < manifest.to_string().len() && manifest.to_string().len() <= 4 << 20);
    let large = s3.manifest("a", From::Push, &manifest);
    s3.tag("a", "v1", From::Push, &large);
    // An artifact of another kind, and one that Docker wrote before 2016.
    let [blob, old] = ["a blob", "an old layer"].map(|text| s3.layer("a", text));
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    s3.manifest("a", From::Push, &json!({"mediaType": artifact, "blobs": [entry(&blob)]}));
    s3.manifest("a", From::Push, &json!({"schemaVersion": 1, "fsLayers": [{"blobSum": old}]}));
    s3.age("", OLD);
    assert_eq!(candidates(&surveyed(&s3, &SurveyRules::default()).await), BTreeSet::new());
    let found = surveyed(&s3, &SurveyRules::default()).await;
    assert_eq!(candidates(&found), BTreeSet::new());
    assert_eq!(found["totals"]["requests"]["manifests"], 1, "so large a manifest is read anew");
}

#[tokio::test]
async fn links_that_name_nothing_go() {
    let bucket = Ordinary::new(&[]).await;
    let s3 = &bucket.s3;
    let config = s3.layer("a", "{}");
    let [lost, dangling] = ["lost", "dangling"].map(|text| digest(text.as_bytes()));
    // A manifest without bytes, with all of its links; a tag of no manifest; a history without a tag; a descriptor of
    // no manifest; a layer link of no blob that no manifest names, and one that a manifest names.
    let kept = s3.manifest("a", From::Push, &image(&config, &[&lost]));
    Bucket::put(s3, &layer_key("a", &lost), lost.clone().into(), &[]);
    let empty = s3.manifest("a", From::Push, &json!({"schemaVersion": 2}));
    s3.remove(&blob_key(&empty));
    s3.tag("a", "v1", From::Push, &empty);
    s3.tag("a", "v2", From::Push, &dangling);
    s3.tag("a", "v3", From::Push, &kept);
    s3.remove(&tag_key("a", "v3"));
    Bucket::put(s3, &referrer_key("a", &kept, &dangling), "{}".into(), &[]);
    Bucket::put(s3, &layer_key("a", &dangling), dangling.clone().into(), &[]);
    let expected = set([
        revision_key("a", &empty),
        tag_key("a", "v1"),
        history_key("a", "v1", &empty),
        tag_key("a", "v2"),
        history_key("a", "v2", &dangling),
        history_key("a", "v3", &kept),
        referrer_key("a", &kept, &dangling),
        layer_key("a", &dangling),
    ]);
    let young = surveyed(s3, &bucket.rules()).await;
    assert_eq!(candidates(&young), BTreeSet::new(), "it may be a push that is under way");
    let found = bucket.survey().await;
    assert_eq!(candidates(&found), bucket.all().union(&expected).cloned().collect());
    assert_eq!(found["totals"]["gone"], 1);
}

#[tokio::test]
async fn a_tag_that_cannot_be_read_keeps_its_repository() {
    let bucket = Ordinary::new(&[]).await;
    bucket.s3.layer("bad", "it may need this");
    bucket.s3.manifest("bad", From::Push, &json!({"schemaVersion": 2}));
    bucket.s3.put(&tag_key("bad", "v1"), "no digest");
    let found = bucket.survey().await;
    assert_eq!(candidates(&found), bucket.all());
    assert_eq!((&found["totals"]["unreadable_tags"], &found["totals"]["kept_whole"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn keys_of_strangers_are_left_alone_and_counted() {
    let bucket = Ordinary::new(&[]).await;
    let strangers = [
        "blobs/readme.txt".to_owned(),
        format!("blobs/sha256/00/{}/data.bak", "00".repeat(32)),
        "repositories/readme.txt".to_owned(),
        "repositories/other/_layers/readme.txt".to_owned(),
        "repositories/other/_other/link".to_owned(),
        // XML does not have such characters, and a form has others for them.
        "repositories/other/\u{1} +%2B&".to_owned(),
        "repositories/Other/_layers/sha256/x/link".to_owned(),
    ];
    for key in &strangers {
        bucket.s3.put(&format!("{ROOT}/{key}"), "a stranger's");
    }
    bucket.s3.put("another/program's/object", "a stranger's");
    let found = bucket.survey().await;
    assert_eq!(candidates(&found), bucket.all());
    assert_eq!(found["totals"]["strangers"], strangers.len());
    // Links of manifests that pounce cannot read, because of their names or digests.
    for key in ["Other/_manifests/revisions/sha256/x/link", "other/_manifests/revisions/sha384/00/link"] {
        bucket.s3.put(&format!("{ROOT}/repositories/{key}"), "a digest");
        let found = bucket.survey().await;
        assert!(!candidates(&found).iter().any(|key| key.ends_with("/data")));
        assert_eq!(found["totals"]["unreadable_manifests"], 1);
        assert_eq!(found["totals"]["unreadable"], json!([format!("{ROOT}/repositories/{key}")]));
        bucket.s3.remove(&format!("{ROOT}/repositories/{key}"));
    }
    // Directories that other programs mark, and a signature of schema 1, whose bytes stay.
    let other = format!("{ROOT}/repositories/other/_manifests/revisions/sha256");
    let signature = bucket.s3.blob("a signature");
    let link = format!("{other}/{}/signatures/{}/link", "00".repeat(32), signature.replace(':', "/"));
    for key in [format!("{other}/"), format!("{other}/{}/", "00".repeat(32)), link] {
        bucket.s3.put(&key, "");
    }
    let found = bucket.survey().await;
    assert_eq!(candidates(&found), bucket.all());
    assert_eq!(found["totals"]["unreadable_manifests"], 0);
}

/// The bucket answers some requests with 503, and every request the SDK gives up on.
#[tokio::test]
async fn a_bucket_that_fails_for_a_while() {
    for operation in ["GetObject", "ListObjectsV2"] {
        let bucket = Ordinary::new(&[]).await;
        bucket
            .s3
            .on(operation, 10, |_| async { Some((503, Vec::new(), "<Error><Code>SlowDown</Code></Error>".into())) });
        assert_eq!(candidates(&bucket.survey().await), bucket.all(), "{operation}");
    }
}

#[tokio::test]
async fn a_bucket_that_denies_a_manifest_is_not_surveyed() {
    let bucket = Ordinary::new(&[]).await;
    bucket.s3.age("", OLD);
    let denied = blob_key(&bucket.gone[0]);
    bucket.s3.on("GetObject", usize::MAX, move |seen| {
        let is_denied = seen.path.contains(&denied);
        async move { is_denied.then(|| (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into())) }
    });
    let store = store(&borrowed(&bucket.s3.variables())).await;
    let error = survey(&store, &bucket.rules()).await.unwrap_err();
    assert!(error.contains("AccessDenied"), "{error}");
}

/// A page that is repeated, and one that is missing, would hide what is needed.
#[tokio::test]
async fn a_list_out_of_order_is_no_list() {
    let bucket = Ordinary::new(&[]).await;
    for directory in ["repositories", "blobs"] {
        bucket.s3.forget_hooks();
        let served = AtomicUsize::new(0);
        bucket.s3.on("ListObjectsV2", usize::MAX, move |seen| {
            let is_it = seen.path.contains(&format!("%2F{directory}%2F&"))
                || seen.path.ends_with(&format!("%2F{directory}%2F"));
            let n = if is_it { served.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
            let names = match n {
                0 => ["b", "a"],
                _ => ["a", "b"],
            };
            let keys =
                names.map(|name| format!("<Contents><Key>{ROOT}/{directory}/{name}</Key><Size>1</Size></Contents>"));
            let body =
                format!("<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>", keys.concat());
            async move { is_it.then(|| (200, Vec::new(), body.into())) }
        });
        let store = store(&borrowed(&bucket.s3.variables())).await;
        let error = survey(&store, &bucket.rules()).await.unwrap_err();
        assert!(error.contains("out of order") && error.contains(directory), "{error}");
    }
}

/// This machine's clock does not count: only the bucket's does, for objects and for now.
#[tokio::test]
async fn clocks_that_differ() {
    for ahead in [-600_i64, 600] {
        let bucket = Ordinary::new(&[Rule::Clock(ahead)]).await;
        let by = Duration::from_secs(ahead.unsigned_abs());
        // What the bucket wrote bears its time.
        if ahead > 0 {
            bucket.s3.dated_ahead("", by);
        } else {
            bucket.s3.age("", by);
        }
        let survey = async |delay: u64| {
            let rules = SurveyRules { delay: Duration::from_secs(delay), ..bucket.rules() };
            candidates(&surveyed(&bucket.s3, &rules).await)
        };
        assert_eq!(survey(300).await, BTreeSet::new(), "{ahead}");
        bucket.s3.age("", Duration::from_mins(6));
        assert_eq!(survey(300).await, bucket.all(), "{ahead}");
        assert_eq!(survey(900).await, BTreeSet::new(), "{ahead}");
    }
}

/// Regions that follow with a delay: lists and links are asked of the leader.
#[tokio::test]
async fn a_bucket_that_lags() {
    let bucket = Ordinary::new(&[Rule::Lags(Duration::from_mins(1))]).await;
    bucket.s3.manifest("other", From::Push, &index(&[]));
    bucket.s3.age("", OLD);
    let mut variables = bucket.s3.variables();
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    let store = store(&borrowed(&variables)).await;
    bucket.s3.take();
    let found = survey(&store, &bucket.rules()).await.unwrap();
    assert_eq!(candidates(&found), bucket.all());
    for operation in ["ListObjectsV2", "GetObject"] {
        for seen in bucket.s3.seen(operation) {
            let is_consistent = seen.headers.get("x-tigris-consistent").is_some();
            assert!(is_consistent || seen.path.contains("/blobs/"), "{}", seen.path);
        }
    }
}

/// More links than are held at once: the repository is read in parts, and of no part it is known what the others need.
#[tokio::test]
async fn a_repository_with_too_many_links_stays_whole() {
    let bucket = Ordinary::new(&[]).await;
    let s3 = &bucket.s3;
    let [large, ..] = s3.image("large", "v1", From::Push);
    s3.layer("large", "nothing names this");
    for n in 0..100_100 {
        s3.put(&format!("{ROOT}/repositories/large/_manifests/tags/v1/index/sha256/{n:064x}/link"), "");
    }
    s3.age("", OLD);
    let found = surveyed(s3, &expire(&[&bucket.gone[0], &large], &["v1"])).await;
    assert_eq!(candidates(&found), bucket.all());
    let totals = &found["totals"];
    assert_eq!((&totals["kept_whole"], &totals["repositories"]), (&json!(1), &json!(3)));
    assert_eq!(totals["requests"]["tags"], 1, "a tag of which nothing is decided is not read");
}
