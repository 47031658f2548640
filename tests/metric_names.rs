//! The names of metrics are the operator's interface: docs/metrics.md lists all of them, and the dashboard and the
//! alerts use no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::image::digest;
use crate::support::scripted::{by_digest, manifest, refusal};
use crate::support::{Image, Pounce, Scripted};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Names of metrics with their types, as the page of a pounce tells them that does a little of everything.
async fn exposed() -> BTreeMap<String, String> {
    let image = Image::new(1, &[1000]);
    let served = image.clone();
    let upstream = Scripted::start(move |seen| {
        let image = served.clone();
        async move {
            let path = seen.path.split('?').next().unwrap().to_owned();
            let tagged = path.ends_with("/manifests/v1").then(|| manifest(&image));
            let mut said = tagged.or_else(|| by_digest(&image, &path)).unwrap_or_else(|| refusal(404, "UNKNOWN"));
            let limits = ["ratelimit-limit", "ratelimit-remaining"].map(|name| (name, "1;w=60".to_owned()));
            said.1.extend(limits);
            said
        }
    })
    .await;
    let names = ("REGISTRY_HTTP_DEBUG_PROMETHEUS_NAMES", "distribution");
    let spool = tempfile::TempDir::new().unwrap();
    let spool = ("REGISTRY_PROXY_SPOOL_DIRECTORY", spool.path().to_str().unwrap());
    let endpoint = ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "[{name: nowhere, url: 'http://127.0.0.1:1/'}]");
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), names, spool, endpoint]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(pounce.get(&format!("/v2/a/blobs/{}", digest(image.layer()))).await.status, 200);
    pounce.until_quiet().await;
    let page = pounce.metrics().await;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// As Prometheus stores it.
fn stored((name, kind): (&String, &String)) -> String {
    match &kind[..] {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.clone(),
    }
}

/// The rows of a document's tables whose first cell is one name in backticks, with the second cell.
fn rows(document: &str) -> BTreeMap<String, String> {
    let cells = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        Some((name.to_owned(), cells.next()?.to_owned()))
    });
    cells.collect()
}

/// The names of metrics in queries: words that begin as ours do, without what a histogram or a rule adds.
fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| ["pounce_", "http_server_", "process_"].iter().any(|it| word.starts_with(it)));
    ours.map(|word| {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        base.unwrap_or(word).to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_stands_in_the_document_and_no_other() {
    let exposed: BTreeMap<_, _> = exposed().await.iter().map(|it| (stored(it), it.1.clone())).collect();
    let listed: BTreeMap<_, _> = rows(&read("docs/metrics.md"))
        .into_iter()
        .filter(|(name, _)| ["pounce_", "http_", "process_", "registry_"].iter().any(|it| name.starts_with(it)))
        .collect();
    let missing: Vec<_> = exposed.keys().filter(|name| !listed.contains_key(*name)).collect();
    let gone: Vec<_> = listed.keys().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in docs/metrics.md: {missing:?}; not exposed: {gone:?}");
    for (name, kind) in &exposed {
        assert_eq!(&listed[name], kind, "the type of {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_use_metrics_that_exist() {
    let exposed: BTreeSet<_> = exposed().await.iter().map(stored).collect();
    let dashboard: serde_json::Value = serde_json::from_str(&read("config/grafana/pounce.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert_eq!(panels.len(), 12);
    assert!(queries.len() >= panels.len());
    for (file, text) in [("pounce.json", queries.join("\n")), ("alerts.yml", read("config/prometheus/alerts.yml"))] {
        let used = used(&text);
        let unknown: Vec<_> = used.iter().filter(|name| !exposed.contains(*name)).collect();
        assert!(used.len() > 10 && unknown.is_empty(), "{file} uses {unknown:?}, which pounce does not expose");
    }
}

#[test]
fn every_alert_has_a_line_that_says_what_to_do() {
    let (rules, document) = (read("config/prometheus/alerts.yml"), read("docs/metrics.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = rows(&document);
    let listed: Vec<_> = runbook.keys().filter(|name| name.starts_with("Pounce")).collect();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        assert!(runbook.contains_key(*alert), "docs/metrics.md has no line for {alert}");
    }
    assert_eq!(listed.len(), alerts.len(), "docs/metrics.md has alerts that alerts.yml does not: {listed:?}");
}
