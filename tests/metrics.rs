//! What `/metrics` counts: clients' requests, answers by upstream, requests to the bucket and upstreams, the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::faults::Faulty;
use crate::support::image::digest;
use crate::support::scripted::{by_digest, manifest, refusal};
use crate::support::users::{by, user};
use crate::support::{Image, Pounce, Scripted, borrowed};

/// The value of a series, which is written as on the page; 0 if there is none.
fn level(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// The same, without the fraction.
fn series(page: &str, name: &str) -> usize {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.split('.').next().unwrap().parse().unwrap())
}

/// By how much a series grew between two pages.
fn more(before: &str, after: &str, name: &str) -> usize {
    series(after, name) - series(before, name)
}

/// An upstream with an image as `v1` of any repository, which tells its rate limit, as Docker Hub does. While `status`
/// is not 0, it answers everything with that.
async fn limited(image: &Image, status: &Arc<AtomicU16>) -> Scripted {
    let (image, status) = (image.clone(), Arc::clone(status));
    Scripted::start(move |seen| {
        let (image, status) = (image.clone(), Arc::clone(&status));
        async move {
            let path = seen.path.split('?').next().unwrap().to_owned();
            let mut said = match status.load(Ordering::Relaxed) {
                0 if path.ends_with("/manifests/v1") => manifest(&image),
                0 => by_digest(&image, &path).unwrap_or_else(|| refusal(404, "MANIFEST_UNKNOWN")),
                status => refusal(status, "UNKNOWN"),
            };
            said.1.push(("ratelimit-limit", "100;w=21600".to_owned()));
            said.1.push(("ratelimit-remaining", "76;w=21600".to_owned()));
            said
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_and_a_warm_pull_are_counted_by_upstream() {
    let image = Image::new(1, &[100_000]);
    let upstream = limited(&image, &Arc::default()).await;
    let pounce = Pounce::with_s3(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let host = upstream.addr.to_string();
    let (before, layer) = (pounce.metrics().await, format!("/v2/a/blobs/{}", digest(image.layer())));

    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(pounce.get(&layer).await.body, image.layer());
    pounce.until_quiet().await;
    for _ in 0..3 {
        assert_eq!(pounce.get(&layer).await.status, 307);
    }
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(pounce.get("/v2/b/manifests/none").await.status, 404);

    let page = pounce.metrics().await;
    let count = |name: &str| more(&before, &page, name);
    let answers = |kind, outcome| {
        count(&format!("pounce_answers_total{{kind=\"{kind}\",outcome=\"{outcome}\",upstream=\"{host}\"}}"))
    };
    assert_eq!([answers("blob", "fill"), answers("blob", "hit")], [1, 3]);
    assert_eq!([answers("manifest", "fill"), answers("manifest", "hit")], [1, 1]);
    let took = |endpoint, status| {
        let labels = format!("endpoint=\"{endpoint}\",status=\"{status}\"");
        count(&format!("http_server_request_duration_seconds_count{{{labels}}}"))
    };
    assert_eq!([took("pull_blob", "2xx"), took("pull_blob", "3xx")], [1, 3]);
    assert_eq!([took("pull_manifest", "2xx"), took("pull_manifest", "4xx")], [2, 1]);
    let labels = "endpoint=\"pull_blob\",status=\"3xx\"";
    let sum = level(&page, &format!("http_server_request_duration_seconds_sum{{{labels}}}"));
    let all = count(&format!("http_server_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}}"));
    assert!(sum > 0.0 && all == 3, "{sum} {all}");
    assert_eq!(count("pounce_cold_blob_first_byte_seconds_count"), 1);
    assert_eq!(count("pounce_manifest_bytes_total"), 2 * image.manifest.len());
    assert_eq!(count("pounce_fetched_manifest_bytes_total"), image.manifest.len());

    let responses = |server, status| {
        let labels = format!("upstream=\"{host}\",server=\"{server}\",status=\"{status}\"");
        count(&format!("pounce_upstream_request_duration_seconds_count{{{labels}}}"))
    };
    let (found, missing) = (responses("registry", "2xx"), responses("registry", "4xx"));
    let seen = upstream.seen();
    assert_eq!(found + missing, seen.len(), "{seen:?}");
    assert!(missing > 0 && responses("storage", "2xx") == 0);
    let limit = format!("{{upstream=\"{host}\",credentials=\"anonymous\"}}");
    assert_eq!(series(&page, &format!("pounce_upstream_ratelimit_remaining{limit}")), 76);
    assert_eq!(series(&page, &format!("pounce_upstream_ratelimit_limit{limit}")), 100);

    let s3 = |operation, status| {
        let labels = format!("operation=\"{operation}\",status=\"{status}\"");
        count(&format!("pounce_s3_request_duration_seconds_count{{{labels}}}"))
    };
    assert!(s3("HeadObject", "404") + s3("GetObject", "404") > 0 && s3("PutObject", "200") > 0, "{page}");
    assert!(series(&page, "pounce_cache_entries{cache=\"blobs\"}") >= 1);
    assert!(series(&page, "pounce_cache_bytes{cache=\"manifests\"}") > 0);
    assert_eq!(series(&page, "pounce_cache_evictions_total{cache=\"blobs\"}"), 0);
    assert_eq!([series(&page, "pounce_fills_waiting"), series(&page, "pounce_bucket_failing_seconds")], [0; 2]);
    assert!(series(&page, "pounce_connections_opened_total") >= series(&page, "pounce_connections"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_counted_and_timed_until_it_answers() {
    let (image, status) = (Image::new(1, &[10]), Arc::new(AtomicU16::new(503)));
    let upstream = limited(&image, &status).await;
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let failing = format!("pounce_upstream_failing_seconds{{upstream=\"{}\"}}", upstream.addr);
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 503);
    let page = pounce.metrics().await;
    assert!(level(&page, &failing) > 0.0, "{page}");
    let broken = "http_server_request_duration_seconds_count{endpoint=\"pull_manifest\",status=\"5xx\"}";
    assert_eq!(series(&page, broken), 1);
    status.store(0, Ordering::Relaxed);
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(series(&pounce.metrics().await, &failing), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_pushes_and_refusals_are_counted() {
    let users = user("ann");
    let rules = "[{users: [anonymous], actions: [pull]}, {users: [ann], actions: [pull, push]}]";
    let variables = [("REGISTRY_AUTH_HTPASSWD_USERS", &users[..]), ("REGISTRY_AUTH_RULES", rules)];
    let pounce = Pounce::with(&variables).await;
    let before = pounce.metrics().await;
    let (blob, upload) = ("x".repeat(1000), "/v2/a/blobs/uploads/");
    let push = || pounce.request("POST", &format!("{upload}?digest={}", digest(blob.as_bytes()))).body(blob.clone());
    assert_eq!(pounce.send(push()).await.status, 401);
    assert_eq!(pounce.send(push().basic_auth("ann", Some("wrong"))).await.status, 401);
    assert_eq!(pounce.send(by("ann", push())).await.status, 201);
    for _ in 0..2 {
        assert_eq!(pounce.get(&format!("/v2/a/blobs/{}", digest(blob.as_bytes()))).await.status, 307);
    }
    assert_eq!(pounce.get("/healthz").await.status, 200);
    assert_eq!(pounce.get("/v2/a/nothing/here").await.status, 404);

    let page = pounce.metrics().await;
    let count = |name: &str| more(&before, &page, name);
    let results = ["anonymous", "login", "challenged", "denied", "limited"];
    let results = results.map(|result| count(&format!("pounce_authorizations_total{{result=\"{result}\"}}")));
    assert_eq!(results, [2, 1, 2, 0, 0]);
    assert_eq!(count("pounce_pushed_bytes_total"), 1000);
    let took = |endpoint, status| {
        count(&format!("http_server_request_duration_seconds_count{{endpoint=\"{endpoint}\",status=\"{status}\"}}"))
    };
    assert_eq!([took("push_blob", "2xx"), took("probe", "2xx"), took("other", "4xx")], [1, 1, 1]);
    // Those that were refused, too.
    assert_eq!(took("push_blob", "4xx"), 2);
    assert_eq!(count("pounce_answers_total{kind=\"blob\",outcome=\"hit\",upstream=\"none\"}"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_active_until_its_last_byte() {
    let pounce = Pounce::with(&[("REGISTRY_STORAGE_REDIRECT_DISABLE", "true")]).await;
    let image = Image::new(1, &[30 << 20]);
    pounce.push_image("a", "1", &image).await;
    let url = pounce.url(&format!("/v2/a/blobs/{}", digest(image.layer())));
    let active = async || series(&pounce.metrics().await, "http_server_active_requests");
    assert_eq!(active().await, 0);
    // More than the buffers of the connection take: the response waits for its client.
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(active().await, 1);
    assert_eq!(response.bytes().await.unwrap().len(), 30 << 20);
    while active().await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_and_its_version_are_on_the_page() {
    let page = Pounce::with(&[]).await.metrics().await;
    assert_eq!(series(&page, concat!("pounce_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1);
    let names =
        ["resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds", "threads", "cpu_seconds_total"];
    for name in names {
        assert!(level(&page, &format!("process_{name}")) > 0.0, "{name} is not in\n{page}");
    }
    assert!(
        series(&page, "process_start_time_seconds") > 1_700_000_000 && series(&page, "pounce_folder_free_bytes") > 0
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn distributions_names_stand_beside_pounces_own() {
    let image = Image::new(1, &[100_000]);
    let upstream = limited(&image, &Arc::default()).await;
    let (names, url) = (("REGISTRY_HTTP_DEBUG_PROMETHEUS_NAMES", "distribution"), upstream.url());
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &url[..]), names]).await;
    let layer = format!("/v2/a/blobs/{}", digest(image.layer()));
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(pounce.head("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(pounce.get(&layer).await.body, image.layer());
    pounce.until_quiet().await;
    assert_eq!(pounce.get(&layer).await.status, 307);
    let page = pounce.metrics().await;
    let proxy = |name: &str, kind: &str| series(&page, &format!("registry_proxy_{name}_total{{type=\"{kind}\"}}"));
    let (blob, manifest) = (100_000, image.manifest.len());
    assert_eq!(["requests", "hits", "misses"].map(|name| proxy(name, "blob")), [2, 1, 1]);
    assert_eq!(["requests", "hits", "misses"].map(|name| proxy(name, "manifest")), [2, 1, 1]);
    assert_eq!(["pulled_bytes", "pushed_bytes"].map(|name| proxy(name, "blob")), [blob, 2 * blob]);
    assert_eq!(["pulled_bytes", "pushed_bytes"].map(|name| proxy(name, "manifest")), [manifest; 2]);
    let requests = |labels: &str| series(&page, &format!("registry_http_requests_total{{{labels}}}"));
    assert_eq!(requests("handler=\"manifest\",code=\"200\",method=\"head\""), 1);
    assert_eq!(requests("handler=\"blob\",code=\"307\",method=\"get\""), 1);
    let took = "registry_http_request_duration_seconds_count{handler=\"manifest\",method=\"get\"}";
    let put = "registry_storage_action_seconds_count{driver=\"filesystem\",action=\"PutContent\"}";
    assert!(series(&page, took) == 1 && series(&page, put) > 0 && page.contains("registry_http_in_flight_requests"));
    assert!(page.contains("pounce_build_info"));
    assert!(!Pounce::with(&[]).await.metrics().await.contains("\nregistry_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_says_when_it_ended_and_one_that_fails_is_counted() {
    let interval = ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "20ms");
    let bucket = Pounce::with(&[]).await;
    let faulty = Faulty::before(bucket.addr, 1).await;
    let s3 = bucket.as_s3_behind(faulty.addr);
    let mut variables = borrowed(&s3);
    variables.push(interval);
    let pounce = Pounce::with(&variables).await;
    let sweeps = async |result| {
        let page = pounce.metrics().await;
        let count = series(&page, &format!("pounce_sweeps_total{{result=\"{result}\"}}"));
        (count, series(&page, "pounce_last_sweep_timestamp_seconds"))
    };
    let until = async |result, count| {
        let began = Instant::now();
        while sweeps(result).await.0 < count {
            assert!(began.elapsed() < Duration::from_secs(20), "no sweep is {result}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until("ok", 1).await;
    assert!(sweeps("ok").await.1 > 1_700_000_000);
    faulty.refuse(Some("list-type"));
    until("failed", 1).await;
}
