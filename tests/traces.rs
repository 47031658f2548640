//! Traces: what a collector gets, whose traces they are, and what it takes to have none.

use std::collections::BTreeSet;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response};

use crate::check::run;
use crate::support::collector::{Collector, Span};
use crate::support::image::digest;
use crate::support::receiver::Manner;
use crate::support::upstream::Manners;
use crate::support::users::{by, user};
use crate::support::{Auth, Image, Pounce, Process, Upstream, borrowed};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The program in front of an upstream, with these variables.
fn start(upstream: &Upstream, variables: &[(&str, String)]) -> Process {
    let url = upstream.url();
    let mut all = borrowed(variables);
    all.push(("REGISTRY_PROXY_REMOTEURL", &url));
    Process::start(&all)
}

fn request(process: &Process, method: &str, path: &str) -> RequestBuilder {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    client.request(method.parse().unwrap(), process.url(path))
}

async fn get(process: &Process, path: &str) -> Response {
    request(process, "GET", path).send().await.unwrap()
}

/// Reads a blob to its end, whoever sends it.
async fn pull(process: &Process, name: &str, blob: &Bytes) {
    let response = reqwest::get(process.url(&format!("/v2/{name}/blobs/{}", digest(blob)))).await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), *blob);
}

fn named<'a>(spans: &'a [Span], start: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name.starts_with(start)).collect()
}

/// The names of a span's ancestors, from its parent on.
fn ancestors<'a>(spans: &'a [Span], span: &Span) -> Vec<&'a str> {
    let parent = spans.iter().find(|it| it.id == span.parent);
    parent.map_or_else(Vec::new, |parent| {
        let mut names = vec![&parent.name[..]];
        names.extend(ancestors(spans, parent));
        names
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_pull_is_one_trace_of_the_client() {
    let (upstream, collector, bucket) = (Upstream::start().await, Collector::start().await, Pounce::with(&[]).await);
    let image = Image::new(1, &[100_000]);
    upstream.add("a/b", "v1", &image);
    let mut variables = bucket.as_s3();
    variables.extend(collector.variables());
    let process = start(&upstream, &variables);
    let pulled = request(&process, "GET", "/v2/a/b/manifests/v1?ns=&x=secret")
        .header("traceparent", traceparent("01"))
        .header("tracestate", "vendor=opaque")
        .send()
        .await
        .unwrap();
    assert_eq!(pulled.status(), 200);
    let blobs = image.blobs.len();
    // The manifest names blobs, whose fills begin at once.
    let is_whole =
        |spans: &[Span]| named(spans, "fill").len() == blobs && !named(spans, "GET /v2/{name}/manifests/").is_empty();
    let spans = collector.until("the fills", is_whole).await;

    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let server: Vec<_> = spans.iter().filter(|span| span.kind == "Server").collect();
    let [server] = server[..] else { panic!("{server:#?}") };
    assert_eq!((&server.name[..], &server.parent[..]), ("GET /v2/{name}/manifests/{reference}", PARENT));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v2/{name}/manifests/{reference}"),
        ("http.response.status_code", "200"),
        ("url.path", "/v2/a/b/manifests/v1"),
        ("url.scheme", "http"),
        ("client.address", "127.0.0.1"),
        ("pounce.repository", "a/b"),
        ("pounce.outcome", "fill"),
    ] {
        assert_eq!(server.get(key), value, "{key}");
    }
    assert!(!server.is_error);

    // The bucket is asked for the request itself, and for each fill.
    let s3 = named(&spans, "S3/");
    assert!(s3.iter().all(|span| span.kind == "Client" && ancestors(&spans, span).contains(&&server.name[..])));
    assert!(s3.iter().any(|span| span.parent == server.id && span.get("pounce.key.kind") == "tag"), "{s3:#?}");
    assert!(s3.iter().any(|span| span.name == "S3/PutObject" && ancestors(&spans, span)[0] == "fill"), "{s3:#?}");
    assert!(s3.iter().all(|span| !span.get("http.response.status_code").is_empty()), "{s3:#?}");
    // So is the upstream, which gets the ids of these very spans.
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id.clone()).collect();
    let seen = upstream.seen();
    for request in seen.iter().filter(|request| request.path.starts_with("/v2/a/b/")) {
        let sent = request.headers["traceparent"].to_str().unwrap();
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!((parts[1], parts[3]), (TRACE, "01"), "{}", request.path);
        assert!(ids.contains(parts[2]), "{sent}");
        assert_eq!(request.headers["tracestate"], "vendor=opaque");
    }
    let blobs_asked = named(&spans, "GET /v2/{name}/blobs/");
    assert_eq!(blobs_asked.len(), blobs);
    for span in blobs_asked {
        assert_eq!((&span.kind[..], span.get("server.address")), ("Client", "127.0.0.1"));
        assert!(ancestors(&spans, span).contains(&"fill"), "{:?}", ancestors(&spans, span));
    }
    for fill in named(&spans, "fill") {
        assert_eq!((&fill.parent, fill.get("pounce.fill.result")), (&server.id, "stored"));
        assert!(image.blobs.iter().any(|blob| digest(blob) == fill.get("pounce.digest")), "{fill:?}");
        assert!(spans.iter().any(|span| span.name == "segment" && span.parent == fill.id));
    }
    for (key, value) in [("service.name", "pounce"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        assert_eq!(server.resource[key], value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_answered_from_memory_is_a_span_by_itself() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let image = Image::new(1, &[1000]);
    upstream.add("a/b", "v1", &image);
    let process = start(&upstream, &collector.variables());
    pull(&process, "a/b", &image.blobs[0]).await;
    process.until_quiet().await;
    let path = format!("/v2/a/b/blobs/{}", digest(&image.blobs[0]));
    assert_eq!(request(&process, "HEAD", &path).send().await.unwrap().status(), 200);
    for _ in 0..2 {
        let warm = request(&process, "GET", &path).header("traceparent", traceparent("01")).send().await.unwrap();
        assert_eq!(warm.status(), 307);
    }
    let is_there = |spans: &[Span]| spans.iter().filter(|span| span.parent == PARENT).count() == 2;
    let spans = collector.until("two warm requests", is_there).await;
    let last = spans.iter().rfind(|span| span.parent == PARENT).unwrap();
    assert_eq!((last.get("pounce.outcome"), last.get("http.response.status_code")), ("hit", "307"));
    assert!(spans.iter().filter(|span| span.kind == "Server").all(|span| !span.is_error), "{spans:#?}");
    assert!(!spans.iter().any(|span| span.parent == last.id), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_decided_holds() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    upstream.add("a/b", "v2", &Image::new(2, &[1000]));
    let process = start(&upstream, &collector.variables());
    let path = "/v2/a/b/manifests/v1";
    request(&process, "GET", path).header("traceparent", traceparent("00")).send().await.unwrap();
    process.until_quiet().await;
    let sent: Vec<_> = upstream.seen().iter().filter_map(|seen| seen.headers.get("traceparent").cloned()).collect();
    assert!(!sent.is_empty());
    for sent in sent {
        let sent = sent.to_str().unwrap();
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    }
    // A client without a trace begins one.
    get(&process, "/v2/a/b/manifests/v2").await;
    let spans = collector.until("a request", |spans| spans.iter().any(|span| span.kind == "Server")).await;
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
    let roots = spans.iter().filter(|span| span.parent.is_empty());
    assert_eq!(roots.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sampler_of_the_environment_decides_where_no_client_does() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    let mut variables = collector.variables().to_vec();
    variables.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off".to_owned()));
    variables.push(("OTEL_PROPAGATORS", "none".to_owned()));
    let process = start(&upstream, &variables);
    // Without a propagator, the client's context is not read.
    for flags in ["00", "01"] {
        let asked = request(&process, "GET", "/v2/a/b/manifests/v1").header("traceparent", traceparent(flags));
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
    process.terminate();
    process.end();
    assert_eq!(collector.0.posted().len(), 0);
    assert!(upstream.seen().iter().all(|seen| !seen.headers.contains_key("traceparent")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_joins_a_fill_has_a_link_to_it() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let image = Image::new(1, &[100_000]);
    upstream.add("a/b", "v1", &image);
    upstream.behave(Manners { holds_after: Some(10), ..Manners::default() });
    let process = start(&upstream, &collector.variables());
    let path = format!("/v2/a/b/blobs/{}", digest(&image.blobs[0]));
    let first = get(&process, &path).await;
    let second = request(&process, "GET", &path).header("traceparent", traceparent("01")).send().await.unwrap();
    upstream.release();
    for response in [first, second] {
        assert_eq!(response.bytes().await.unwrap(), image.blobs[0]);
    }
    let is_there = |spans: &[Span]| named(spans, "fill").len() == 1 && spans.iter().any(|it| it.parent == PARENT);
    let spans = collector.until("the fill", is_there).await;
    let fill = named(&spans, "fill")[0];
    assert_ne!(fill.trace, TRACE);
    let follower = spans.iter().find(|span| span.parent == PARENT).unwrap();
    assert_eq!((follower.get("pounce.outcome"), &follower.links[..]), ("follow", &[fill.id.clone()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_and_the_context_goes_to_the_upstream_alone() {
    let (upstream, storage, collector) = (Upstream::start().await, Upstream::start().await, Collector::start().await);
    let image = Image::new(1, &[100_000]);
    for upstream in [&upstream, &storage] {
        upstream.add("a/b", "v1", &image);
    }
    let away = Some(format!("{}/redirected?signature=of-storage&", storage.url()));
    let secret = "upstream-password";
    upstream.behave(Manners { auth: Auth::Bearer, secret, redirects_blobs_to: away, ..Manners::default() });
    let bucket = Pounce::with(&[]).await;
    let mut variables = bucket.as_s3();
    let keys: Vec<String> = variables.iter().filter(|(name, _)| name.contains("KEY")).map(|it| it.1.clone()).collect();
    assert_eq!(keys.len(), 2);
    variables.extend(collector.variables());
    variables.extend([
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-collector".to_owned()),
        ("REGISTRY_PROXY_USERNAME", "user".to_owned()),
        ("REGISTRY_PROXY_PASSWORD", secret.to_owned()),
        ("REGISTRY_HTTP_SECRET", "battery staple".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_USERS", user("alice")),
        ("REGISTRY_AUTH_RULES", "[{users: ['*'], actions: [pull, push]}]".to_owned()),
    ]);
    let process = start(&upstream, &variables);
    let ask = |method: &str, path: &str| by("alice", request(&process, method, path));
    assert_eq!(ask("GET", "/v2/a/b/manifests/v1").send().await.unwrap().status(), 200);
    process.until_quiet().await;
    let path = format!("/v2/a/b/blobs/{}", digest(&image.blobs[0]));
    let redirect = ask("GET", &path).header("cookie", "session=cookie").send().await.unwrap();
    let signed = redirect.headers().get("location").map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
    let began = ask("POST", "/v2/c/blobs/uploads/").send().await.unwrap();
    let upload = began.headers()["location"].to_str().unwrap().to_owned();
    let sent = by("alice", Client::new().patch(process.url(&upload))).body("bytes").send().await.unwrap();
    assert_eq!(sent.status(), 202);
    // A login that fails.
    let wrong = request(&process, "GET", "/v2/a/b/manifests/v1").basic_auth("alice", Some("wrong-password"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let spans = collector.until("the login that failed", |spans| {
        spans.iter().any(|span| span.get("http.response.status_code") == "401" && span.kind == "Server")
    });
    let spans = spans.await;
    assert!(spans.iter().any(|span| span.name == "GET token"), "{spans:#?}");
    assert!(spans.iter().any(|span| span.get("pounce.upstream.server") == "storage"), "{spans:#?}");

    let query = |url: &str| url.split_once('?').map(|(_, query)| query.to_owned());
    let queries = [signed, upload].map(|url| query(&url).unwrap_or_default());
    let values = queries.iter().flat_map(|query| query.split('&')).filter_map(|pair| Some(pair.split_once('=')?.1));
    let secrets = ["alice's", "wrong-password", secret, "cookie", "battery staple", "token-for", "of-storage"];
    let long = values.filter(|value| value.len() > 30).chain(secrets).chain(keys.iter().map(String::as_str));
    let long: Vec<_> =
        long.chain(["X-Amz-", "x-amz-sig", "redirected", "_state", "Bearer", "Basic", "of-collector"]).collect();
    assert!(long.len() > 12, "{long:?}");
    let all: Vec<u8> = collector.0.posted().iter().flat_map(|posted| posted.body.to_vec()).collect();
    for secret in long {
        let found = all.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} leaves");
    }
    // The collector itself has its header.
    assert!(collector.0.posted().iter().all(|posted| posted.headers["authorization"] == "Bearer of-collector"));

    let has_context = |upstream: &Upstream, part: &str| -> Vec<bool> {
        let seen = upstream.seen();
        let asked = seen.iter().filter(|seen| seen.path.contains(part));
        asked.map(|seen| seen.headers.contains_key("traceparent")).collect()
    };
    for (upstream, part, expected) in
        [(&upstream, "/manifests/", true), (&upstream, "/token", false), (&storage, "", false)]
    {
        let has = has_context(upstream, part);
        assert!(!has.is_empty() && has.iter().all(|has| *has == expected), "{part}: {has:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_or_is_gone_is_named_once() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    collector.0.behave(|_| Manner::Status(500));
    let mut process = start(&upstream, &collector.variables());
    while collector.0.posted().len() < 4 {
        assert_eq!(get(&process, "/v2/a/b/manifests/v1").await.status(), 200);
    }
    let line = process.until("the collector did not take spans");
    assert!(line.contains("it answered 500") && line.contains("WARN"), "{line}");
    process.terminate();
    let (status, log) = process.end();
    assert_eq!((status, log.matches("did not take spans").count()), (0, 1), "{log}");

    // No server is at this port.
    let nowhere = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned())];
    let mut process = start(&upstream, &[&nowhere[..], &[("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned())]].concat());
    assert_eq!(get(&process, "/v2/a/b/manifests/v1").await.status(), 200);
    let line = process.until("the collector did not take spans");
    assert!(line.contains("http://127.0.0.1:1") && line.contains("refused"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_collector_that_hangs() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    collector.0.behave(|_| Manner::Hang);
    let mut variables = collector.variables().to_vec();
    variables.push(("OTEL_BSP_MAX_QUEUE_SIZE", "8".to_owned()));
    let process = start(&upstream, &variables);
    // More than the queue takes.
    for _ in 0..100 {
        assert_eq!(get(&process, "/v2/a/b/manifests/v1").await.status(), 200);
    }
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("did not take the last spans in time") && log.contains("ended"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_at_the_end() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    let [endpoint, _] = collector.variables();
    let process = start(&upstream, &[endpoint, ("OTEL_SERVICE_NAME", "edge".to_owned())]);
    assert_eq!(get(&process, "/v2/a/b/manifests/v1").await.status(), 200);
    process.terminate();
    process.end();
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.kind == "Server" && span.resource["service.name"] == "edge"), "{spans:#?}");
    assert!(collector.0.posted().iter().all(|posted| posted.path == "/v1/traces"));
}

/// A line of the log without what differs from run to run.
fn shape(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let mut line = value.as_object().unwrap().clone();
    for key in [
        "timestamp",
        "addr",
        "debug",
        "folder",
        "duration_ms",
        "took_ms",
        "first_byte_ms",
        "seconds",
        "mb_per_s",
        "upstream",
        "cause",
    ] {
        line.remove(key);
    }
    let text = serde_json::to_string(&line).unwrap();
    // Ids of requests, and ports.
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let own: Vec<_> =
        words.filter(|word| word.len() == 36 || word.parse::<u16>().is_ok_and(|port| port > 1024)).collect();
    own.iter().fold(text.clone(), |text, word| text.replace(word, "…"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_the_same_with_traces_and_without() {
    let collector = Collector::start().await;
    let mut logs = Vec::new();
    for variables in [Vec::new(), collector.variables().to_vec()] {
        let mut upstream = Upstream::start().await;
        let image = Image::new(1, &[1000]);
        upstream.add("a/b", "v1", &image);
        let mut process = start(&upstream, &variables);
        pull(&process, "a/b", &image.blobs[0]).await;
        process.until("stored a blob");
        upstream.stop().await;
        assert_eq!(get(&process, "/v2/a/b/manifests/v2").await.status(), 503);
        process.until("request failed");
        let shapes = process.seen.lines().filter(|line| !line.contains("traces are sent")).map(shape);
        let mut shapes: Vec<_> = shapes.filter(|shape| !shape.contains("pounce::upstream")).collect();
        shapes.sort();
        logs.push(shapes);
    }
    assert!(logs[0].iter().any(|line| line.contains("stored a blob") && line.contains("\"spans\"")), "{:#?}", logs[0]);
    assert_eq!(logs[0], logs[1]);
    assert!(!collector.spans().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_said_at_the_start() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    upstream.add("a/b", "v1", &Image::new(1, &[1000]));
    let mut variables = collector.variables().to_vec();
    variables.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()));
    let process = start(&upstream, &variables);
    let line = process.seen.lines().find(|line| line.contains("OTEL_EXPORTER_OTLP_PROTOCOL")).unwrap().to_owned();
    assert!(line.contains("WARN") && line.contains("no traces are sent"), "{line}");
    assert_eq!(get(&process, "/v2/a/b/manifests/v1").await.status(), 200);
    process.terminate();
    process.end();
    assert_eq!(collector.0.posted().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_where_traces_go() {
    let collector = Collector::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().join("data").display().to_string();
    let check = async |more: &[(&'static str, &str)]| {
        let endpoint = collector.0.url("");
        let mut variables = vec![("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &data[..])];
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint[..]));
        variables.push(("OTEL_EXPORTER_OTLP_HEADERS", "authorization=x"));
        variables.extend(more);
        let (_, said, _) = run(&["check"], &variables, "").await;
        let lines = said.lines().filter(|line| line.contains(" traces: ")).map(str::to_owned);
        lines.collect::<Vec<_>>().join("\n")
    };
    let said = check(&[]).await;
    assert!(said.starts_with("ok traces: ") && said.contains(&collector.0.url("")), "{said}");
    assert_eq!(collector.0.posted()[0].headers["authorization"], "x");
    collector.0.behave(|_| Manner::Status(401));
    let said = check(&[]).await;
    assert!(said.starts_with("warning traces: ") && said.contains("it answered 401"), "{said}");
    let said = check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).await;
    assert!(said.starts_with("warning traces: ") && said.contains("http/protobuf"), "{said}");
    assert_eq!(collector.0.posted().len(), 2);
}
