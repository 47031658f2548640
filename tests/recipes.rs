//! The configurations of docs/retention.md, each run over a bucket: what is left after some rounds of `pounce gc`, two for
//! tags and manifests, and two more for their bytes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::check::run;
use crate::support::image::digest;
use crate::support::{FakeS3, Image, Pounce, Upstream, borrowed};

const DAY: Duration = Duration::from_hours(24);
const REPOSITORIES: &str = "docker/registry/v2/repositories";

/// A bucket, and a configuration of the document.
struct Recipe {
    s3: FakeS3,
    folder: TempDir,
}

impl Recipe {
    /// The configuration below this heading, changed by `change`.
    async fn new(heading: &str, change: impl Fn(&str) -> String) -> Self {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/retention.md")).unwrap();
        let section = document.split(&format!("### {heading}\n")).nth(1).expect("there is such a heading");
        let yaml = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("registry.yml"), change(yaml)).unwrap();
        Self { s3: FakeS3::start(&[]).await, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("registry.yml")
    }

    async fn serving(&self, more: &[(&'static str, String)]) -> Pounce {
        Pounce::with(&borrowed(&[self.s3.variables(), more.to_vec()].concat())).await
    }

    /// Has clients pull these images through the registry.
    async fn pulled_through(&self, images: &[(&str, &Image)]) {
        let upstream = Upstream::start().await;
        let mut pounce = self.serving(&[("REGISTRY_PROXY_REMOTEURL", upstream.url())]).await;
        for (name, image) in images {
            upstream.add(name, "v1", image);
            assert_eq!(pounce.get(&format!("/v2/{name}/manifests/v1")).await.status, 200);
            for blob in &image.blobs {
                pounce.pull(name, &digest(blob)).await;
            }
        }
        pounce.until_quiet().await;
        // It notes what was pulled at its end.
        pounce.end().await;
    }

    /// Has a client push these images, under these tags.
    async fn pushed(&self, images: &[(&str, &str, &Image)]) {
        let mut pounce = self.serving(&[]).await;
        for (name, tag, image) in images {
            pounce.push_image(name, tag, image).await;
        }
        pounce.end().await;
    }

    /// Some process noted pulls on each of so many days; on the day `ago` days before today, these.
    fn noted(&self, days: u32, ago: u32, pulls: &Value) {
        // What the processes of this test noted is of today.
        for key in self.s3.keys().iter().filter(|key| key.contains("pounce/pulled/")) {
            self.s3.remove(key);
        }
        let since = humantime::format_rfc3339_seconds(SystemTime::now() - DAY * (days + 1)).to_string();
        for before in 0..=days {
            let time = SystemTime::now() - DAY * before;
            let text = humantime::format_rfc3339_seconds(time).to_string();
            let key = format!("pounce/pulled/{}/{}-{}", &text[..10], &text[11..13], uuid::Uuid::new_v4());
            let pulls = if before == ago { pulls.clone() } else { json!({}) };
            let note = json!({"version": 1, "since": since, "whole": true, "pulls": pulls});
            self.s3.put(&key, note.to_string());
            self.s3.age(&key, DAY * before);
        }
    }

    /// Surveys found manifests without a tag so long before they did.
    fn first_seen_before(&self, by: Duration) {
        let key = "pounce/gc/manifests/00";
        let Some(segment) = self.s3.object(key) else {
            return;
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut bytes = segment[..segment.len() - 32].to_vec();
        for at in 0..bytes.len() - 8 {
            let number = u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
            // Links are older.
            if (now - 15 * DAY.as_secs()..=now).contains(&number) {
                bytes[at..at + 8].copy_from_slice(&(number - by.as_secs()).to_le_bytes());
            }
        }
        let checksum = digest(&bytes);
        let hex = checksum.trim_start_matches("sha256:");
        bytes.extend((0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()));
        self.s3.put(key, bytes);
    }

    async fn collect(&self) -> Value {
        let variables = self.s3.variables();
        let file = self.file();
        let (status, text, errors) = run(&["gc", "--json", file.to_str().unwrap()], &borrowed(&variables), "").await;
        assert_eq!((status, &errors[..]), (0, ""), "{text}");
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    /// A round a day after the last one.
    async fn collect_later(&self) -> Value {
        let state = self.s3.object("docker/registry/v2/_gc/state").unwrap();
        let mut state: Value = serde_json::from_slice(&state).unwrap();
        for batch in state["batches"].as_array_mut().unwrap() {
            batch["published"] = json!(batch["published"].as_u64().unwrap() - 25 * 3600);
        }
        self.s3.put("docker/registry/v2/_gc/state", state.to_string());
        self.collect().await
    }

    /// Four rounds, a day apart; the reports of the second, by which tags and manifests go, and the last.
    async fn collect_all(&self) -> [Value; 2] {
        let content =
            || self.s3.keys().into_iter().filter(|key| key.starts_with("docker/") && !key.contains("/_gc/")).count();
        let before = content();
        let first = self.collect().await;
        assert!(content() == before, "the first round deletes nothing: {first}");
        assert!(first["condemned"].as_u64().unwrap() > 0, "{first}");
        let second = self.collect_later().await;
        let blobs = |report: &Value| report["deleted"]["blob"]["count"].as_u64().unwrap_or_default();
        assert_eq!(blobs(&second), 0, "manifests that are there still need them: {second}");
        let third = self.collect_later().await;
        assert_eq!(blobs(&third), 0, "they are condemned now: {third}");
        [second, self.collect_later().await]
    }

    fn tags(&self, name: &str) -> Vec<String> {
        let prefix = format!("{REPOSITORIES}/{name}/_manifests/tags/");
        let keys = self.s3.keys().into_iter();
        let tags = keys.filter_map(|key| Some(key.strip_prefix(&prefix)?.strip_suffix("/current/link")?.to_owned()));
        tags.collect()
    }

    /// How many of an image's manifest and blobs the bucket has.
    fn stored(&self, image: &Image) -> usize {
        let has = |bytes: &[u8]| {
            let hex = digest(bytes).replace("sha256:", "");
            self.s3.object(&format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).is_some()
        };
        usize::from(has(&image.manifest)) + image.blobs.iter().filter(|blob| has(blob)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_keeps_what_was_used_in_the_last_30_days() {
    let recipe = Recipe::new("A cache that keeps what was used in the last 30 days", str::to_owned).await;
    let [used, unused, own] = [1, 2, 3].map(|seed| Image::new(seed, &[1000]));
    recipe.pulled_through(&[("org/used", &used), ("org/unused", &unused)]).await;
    recipe.pushed(&[("team/own", "v1", &own)]).await;
    recipe.s3.age("docker/registry/", DAY * 40);
    recipe.noted(35, 10, &json!({"org/used": [used.digest()]}));
    let [report, last] = recipe.collect_all().await;
    assert_eq!(report["deleted"]["tag"]["count"], 1, "{report}");
    assert_eq!(report["by_reason"]["proxy.ttl"]["tags"], 1, "{report}");
    assert_eq!(last["deleted"]["blob"]["count"], 3, "{last}");
    let left = ["org/used", "org/unused", "team/own"].map(|name| recipe.tags(name).len());
    assert_eq!(left, [1, 0, 1]);
    assert_eq!([&used, &unused, &own].map(|image| recipe.stored(image)), [3, 0, 3]);
    let unused_keys = recipe.s3.keys().into_iter().filter(|key| key.contains("org/unused/"));
    assert_eq!(unused_keys.collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pulled_while_a_round_reads_the_bucket_stays() {
    let recipe = Recipe::new("A cache that keeps what was used in the last 30 days", str::to_owned).await;
    let [late, unused] = [1, 2].map(|seed| Image::new(seed, &[1000]));
    recipe.pulled_through(&[("org/late", &late), ("org/unused", &unused)]).await;
    recipe.s3.age("docker/registry/", DAY * 40);
    recipe.noted(35, 10, &json!({}));
    let first = recipe.collect().await;
    assert_eq!(first["goes"]["tags"], 2, "{first}");
    let [reads, noted] = [(); 2].map(|()| Arc::new(Notify::new()));
    let (began, goes_on) = (Arc::clone(&reads), Arc::clone(&noted));
    recipe.s3.on("ListObjectsV2", 1000, move |seen| {
        let (began, goes_on) = (Arc::clone(&began), Arc::clone(&goes_on));
        async move {
            if seen.path.contains("%2Fblobs%2F") {
                began.notify_one();
                goes_on.notified().await;
            }
            None
        }
    });
    let pull = async {
        reads.notified().await;
        recipe.noted(35, 0, &json!({"org/late": [late.digest()]}));
        noted.notify_one();
    };
    let (second, ()) = tokio::join!(recipe.collect_later(), pull);
    recipe.s3.forget_hooks();
    assert_eq!((&second["goes"]["tags"], &second["deleted"]["tag"]["count"]), (&json!(2), &json!(1)), "{second}");
    assert_eq!(["org/late", "org/unused"].map(|name| recipe.tags(name).len()), [1, 0]);
    // From now on, it is known.
    for _ in 0..3 {
        recipe.collect_later().await;
    }
    assert_eq!([&late, &unused].map(|image| recipe.stored(image)), [3, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_stays_within_its_budget() {
    let recipe = Recipe::new("A cache with a budget", |yaml| yaml.replace("2TiB", "330KiB")).await;
    let [first, second, third, own] = [1, 2, 3, 4].map(|seed| Image::new(seed, &[100_000]));
    recipe.pulled_through(&[("org/first", &first), ("org/second", &second), ("org/third", &third)]).await;
    recipe.pushed(&[("team/own", "v1", &own)]).await;
    recipe.s3.age("docker/registry/", DAY * 2);
    // The first one was written last, but the second one is what was not used for longest.
    for (name, days) in [("org/first", 10), ("org/second", 30), ("org/third", 20), ("team/own", 80)] {
        recipe.s3.age(&format!("repositories/{name}/"), DAY * days);
    }
    recipe.noted(85, 1, &json!({}));
    let [report, last] = recipe.collect_all().await;
    assert_eq!(report["goes"]["blobs"]["count"], 3, "{report}");
    assert_eq!(last["deleted"]["blob"]["count"], 3, "{last}");
    let images = [&first, &second, &third, &own];
    assert_eq!(images.map(|image| recipe.stored(image)), [3, 0, 3, 3], "{report}");
    assert!(last["after"]["bytes"].as_u64().unwrap() <= 330 << 10, "{last}");
    assert_eq!(recipe.tags("org/second"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_keeps_ten_releases() {
    let recipe = Recipe::new("A registry that keeps ten releases", str::to_owned).await;
    let images: Vec<_> = (0..15).map(|seed| Image::new(seed, &[1000])).collect();
    // A round saw it without a tag eight days ago.
    recipe.pushed(&[("team/app", &images[14].digest(), &images[14])]).await;
    recipe.s3.age("docker/registry/", DAY * 20);
    recipe.noted(15, 1, &json!({}));
    assert_eq!(recipe.collect().await["goes"]["keys"], 0);
    recipe.first_seen_before(DAY * 8);
    let tags: Vec<_> = (0..13).map(|number| format!("v{number:02}")).chain(["latest".to_owned()]).collect();
    let pushes: Vec<_> = tags.iter().zip(&images).map(|(tag, image)| ("team/app", &tag[..], image)).collect();
    recipe.pushed(&pushes).await;
    recipe.s3.age("docker/registry/", DAY * 20);
    for number in 0..13 {
        recipe.s3.age(&format!("tags/v{number:02}/"), DAY * (13 - number));
    }
    recipe.s3.age("tags/latest/", DAY * 60);
    recipe.noted(15, 1, &json!({}));
    let [report, last] = recipe.collect_all().await;
    assert_eq!(last["deleted"]["blob"]["count"], 12, "{last}");
    let expected: Vec<_> = std::iter::once("latest".to_owned()).chain((3..13).map(|it| format!("v{it:02}"))).collect();
    assert_eq!(recipe.tags("team/app"), expected, "{report}");
    let left: Vec<_> = images.iter().map(|image| recipe.stored(image)).collect();
    assert_eq!(left, [0, 0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0], "{report}");
    assert_eq!(report["by_reason"].as_object().unwrap().keys().collect::<Vec<_>>(), ["storage.retention.0"]);
}

/// The time to put back a tag that a client deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_tag_a_client_deletes_stays_for_a_week() {
    let recipe = Recipe::new("A registry that keeps ten releases", str::to_owned).await;
    let image = Image::new(1, &[1000]);
    recipe.pushed(&[("team/app", "v1", &image)]).await;
    recipe.s3.age("docker/registry/", DAY * 400);
    recipe.noted(25, 1, &json!({}));
    for (round, (days, goes)) in [(0, 0), (20, 0), (0, 0), (6, 0), (2, 1)].into_iter().enumerate() {
        // Since the round before.
        recipe.first_seen_before(DAY * days);
        if round == 2 {
            let pounce = recipe.serving(&[]).await;
            let reply = pounce.send(pounce.request("DELETE", "/v2/team/app/manifests/v1")).await;
            assert_eq!(reply.status, 202);
        }
        let report = recipe.collect().await;
        assert_eq!(report["goes"]["manifests"], goes, "{round}: {report}");
    }
    assert_eq!(recipe.stored(&image), 3);
}
