//! `make survey`: a survey of a large bucket, as `pounce gc` makes it: memory, requests and time.
//!
//! 100,000 blobs, 20,000 manifests and 2,000 repositories of small objects, in the fake S3 of the tests and in a folder.
//! The survey runs in a process of its own, so that its memory is what is measured; over a folder, the S3 server inside
//! that process counts, too. `make survey SHARE=10` makes a tenth of the bucket.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the measurement")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pounce::config::{Config, Environment};
use pounce::internals::{Ruled, SurveyRules, survey};
use pounce::store::Store;
use serde_json::{Value, json};
use support::FakeS3;
use support::image::{OCI_MANIFEST, digest};
use tempfile::TempDir;

const REPOSITORIES: usize = 2_000;
const MANIFESTS: usize = 10;
/// Of each manifest, of its own: a config, and layers. Each has one more, which a hundredth of all have.
const BLOBS: usize = 4;
const SHARED: usize = 100;
/// Blobs that nothing names.
const ORPHANS: usize = 1_000;
const OLD: Duration = Duration::from_hours(48);
/// The bucket to which the figures are extrapolated.
const LARGE: u64 = 10_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.first().map(String::as_str) {
        // In a process of its own: the variables of a store, as JSON.
        Some("of") => runtime.block_on(of(&arguments[1])),
        share => runtime.block_on(measure(share.map_or(1, |share| share.parse().unwrap()))),
    }
}

async fn measure(share: usize) {
    println!("{} repositories, {MANIFESTS} manifests in each", REPOSITORIES / share);
    println!(
        "\n| bucket | round | keys | LISTs | tags | origins | manifests | memory of manifests | seconds | peak MiB |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let s3 = FakeS3::start(&[]).await;
    let began = Instant::now();
    generate(share, |key, bytes, headers| s3.put_with(&key, bytes, headers));
    s3.age("", OLD);
    let filled = began.elapsed();
    let variables = s3.variables();
    let first = round("fake S3", "first", &variables);
    let second = round("fake S3", "second", &variables);
    assert_eq!(first["totals"]["goes"], second["totals"]["goes"], "both find the same");
    let folder = TempDir::new().unwrap();
    generate(share, |key, bytes, _| write(&folder.path().join(key), &bytes));
    let root = folder.path().to_str().unwrap().to_owned();
    let variables = vec![("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)];
    round("folder", "first", &variables);
    round("folder", "second", &variables);
    println!("\nFilled in {} s. The bucket's requests took no time; the rate was not bounded.", filled.as_secs());
    extrapolate(&first, &second);
}

fn round(bucket: &str, name: &str, variables: &[(&str, String)]) -> Value {
    let variables: serde_json::Map<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["of", &Value::from(variables).to_string()])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let found: Value = serde_json::from_slice(&child.stdout).unwrap();
    let requests = &found["totals"]["requests"];
    let counts = ["lists", "tags", "origins", "manifests", "known"].map(|of| requests[of].to_string()).join(" | ");
    let (millis, peak) = (found["millis"].as_u64().unwrap(), found["peak"].as_u64().unwrap() >> 20);
    println!(
        "| {bucket} | {name} | {} | {counts} | {}.{} | {peak} |",
        found["keys"],
        millis / 1000,
        millis % 1000 / 100
    );
    let keys = found["keys"].as_u64().unwrap();
    assert!(requests["lists"].as_u64().unwrap() <= keys / 1000 + 2, "a LIST for 1,000 keys");
    assert!(requests["tags"] == found["totals"]["tags"], "a GET for each tag");
    if name == "second" {
        assert_eq!(requests["manifests"], 0, "no manifest is read again");
    }
    found
}

/// Surveys, and prints what it found.
async fn of(variables: &str) {
    let variables: std::collections::BTreeMap<String, String> = serde_json::from_str(variables).unwrap();
    let environment: Environment = variables.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let store = Store::connect(&Config::load(None, &environment).unwrap().config.storage).await.unwrap();
    let used = SystemTime::now() - OLD * 10;
    let rules = SurveyRules {
        rate: NonZeroU32::new(1_000_000).unwrap(),
        asks_origins: true,
        // All that a budget may take is spooled.
        max_size: Some(u64::MAX),
        manifest: Box::new(move |_, is_pushed, _| if is_pushed { Ruled::Keep } else { Ruled::Used(used) }),
        ..SurveyRules::default()
    };
    let began = Instant::now();
    let mut found = survey(&store, &rules).await.unwrap();
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let totals = found["totals"].take();
    let blobs = totals["blobs"]["count"].as_u64().unwrap();
    let (tags, manifests) = (totals["tags"].as_u64().unwrap(), totals["manifests"].as_u64().unwrap());
    // Each tag has a history; each manifest a link, and links of its blobs.
    let keys = blobs + 2 * tags + manifests + manifests * (BLOBS as u64 + 1);
    let result = json!({ "totals": totals, "keys": keys, "millis": millis, "peak": peak << 10 });
    println!("{result}");
}

/// Writes an object with metadata.
type Put<'a> = dyn FnMut(String, Bytes, &[(&str, &str)]) + 'a;

/// Makes all objects.
fn generate(share: usize, mut put: impl FnMut(String, Bytes, &[(&str, &str)])) {
    let root = "docker/registry/v2";
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let blob_key = |digest: &str| format!("{root}/blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest));
    let blob = |put: &mut Put<'_>, bytes: String| {
        let digest = digest(bytes.as_bytes());
        put(blob_key(&digest), bytes.into(), &[]);
        digest
    };
    for n in 0..ORPHANS / share {
        blob(&mut put, format!("orphan {n}"));
    }
    let shared: Vec<String> = (0..SHARED).map(|n| blob(&mut put, format!("shared {n}"))).collect();
    for repository in 0..REPOSITORIES / share {
        let directory = format!("{root}/repositories/team-{}/app-{repository}", repository % 50);
        for n in 0..MANIFESTS {
            let entry =
                |digest: &str| json!({"mediaType": "application/octet-stream", "digest": digest, "size": 12_345});
            let mut blobs: Vec<String> =
                (0..BLOBS).map(|layer| blob(&mut put, format!("blob {repository} {n} {layer}"))).collect();
            blobs.push(shared[(repository * MANIFESTS + n) % SHARED].clone());
            let layers: Vec<_> = blobs[1..].iter().map(|layer| entry(layer)).collect();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry(&blobs[0]), "layers": layers,
            });
            let manifest = blob(&mut put, manifest.to_string());
            for digest in &blobs {
                put(format!("{directory}/_layers/sha256/{}/link", hex(digest)), digest.clone().into(), &[]);
            }
            let upstream = [("x-amz-meta-pounce-upstream", "docker.io"), ("x-amz-meta-origin", "upstream")];
            let headers = if repository % 10 == 0 { &[] } else { &upstream[..] };
            let manifests = format!("{directory}/_manifests");
            let link = Bytes::from(manifest.clone());
            put(format!("{manifests}/revisions/sha256/{}/link", hex(&manifest)), link.clone(), headers);
            put(format!("{manifests}/tags/v{n}/current/link"), link.clone(), headers);
            put(format!("{manifests}/tags/v{n}/index/sha256/{}/link", hex(&manifest)), link, &[]);
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - OLD).unwrap();
}

/// What a bucket of [`LARGE`] blobs needs: as much for each key as the one that was measured.
fn extrapolate(first: &Value, second: &Value) {
    let blobs = first["totals"]["blobs"]["count"].as_u64().unwrap();
    let times = |number: u64| u128::from(number) * u128::from(LARGE) / u128::from(blobs);
    let count = |round: &Value, of: &str| times(round["totals"]["requests"][of].as_u64().unwrap());
    println!("\nA bucket of {LARGE} blobs, {} times as many, of the same shape:", LARGE / blobs);
    for (name, round) in [("first", first), ("second", second)] {
        let gets = ["tags", "origins", "manifests"].map(|of| count(round, of));
        let all = count(round, "lists") + gets.iter().sum::<u128>();
        println!(
            "- the {name} round: {} LISTs, {} GETs; {} minutes of this machine's time, {} hours at 500 requests a second",
            count(round, "lists"),
            gets.iter().sum::<u128>(),
            times(round["millis"].as_u64().unwrap()) / 60_000,
            all / 500 / 3600,
        );
    }
    let of = |what: &str| times(first["totals"][what].as_u64().unwrap());
    let grown = (of("manifests") * 16 + of("repositories") * 200) >> 20;
    let peak = first["peak"].as_u64().unwrap() >> 20;
    println!(
        "- memory: what does not grow, at most {peak} MiB here, spools of 32 MiB where they are not full yet, and {grown} MiB \
         for manifests and repositories"
    );
}
