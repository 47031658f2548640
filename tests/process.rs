//! The program as a process: how it starts, what it logs, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::image::digest;
use crate::support::process::{command, fill};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream, borrowed, program};
use crate::torture::client::{Client, until_probe};

/// Runs until it fails; returns the error, which the last line of the log says.
fn fails(variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let output = command(folder.path()).envs(variables.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["level"] == "ERROR" && last["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
    let message = last["message"].as_str().unwrap().to_owned();
    assert!(message.len() < 400, "{text}");
    message
}

#[test]
fn a_configuration_that_is_refused_is_told_in_the_format_of_the_log() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("registry.yml");
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = command(folder.path()).arg(&file).env_remove("REGISTRY_LOG_FORMATTER").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused("http: {adr: ':5000'}\n");
    assert!(text.starts_with("pounce: http.adr: there is no such setting"), "{text}");
    for mistake in ["http: {adr: ':5000'}\n", "http: [\n"] {
        let json = refused(&format!("log:\n  formatter: json\n{mistake}"));
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(line["level"] == "ERROR" && line["message"].is_string(), "{json}");
    }
}

/// The lines of the log up to the command to try.
fn start(variables: &[(&str, &str)]) -> Vec<serde_json::Value> {
    let mut process = Process::start(variables);
    process.until("try it");
    process.seen.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_where_data_lies_which_upstreams_there_are_and_what_to_try() {
    let upstream = Upstream::start().await;
    let lines = start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io"),
        ("REGISTRY_AUTH_ANONYMOUS", "pull"),
    ]);
    assert!(lines.len() == 5 && lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
    let [storage, upstreams, access, listening, command] = &lines[..] else { panic!("{lines:?}") };
    assert!(storage["folder"].as_str().unwrap().starts_with('/'), "{storage}");
    assert_eq!(upstreams["upstreams"], format!("{} or docker.io at {}, ghcr.io", upstream.addr, upstream.url()));
    assert_eq!(access["without_login"], "pull");
    let port = listening["addr"].as_str().unwrap().rsplit(':').next().unwrap();
    assert_eq!(command["command"], format!("docker pull localhost:{port}/library/alpine"));

    let lines = start(&[("REGISTRY_HTTP_HOST", "https://registry.example.com")]);
    let access = &lines[2];
    assert_eq!((&access["level"], &access["without_login"]), (&"WARN".into(), &"pull, push and delete".into()));
    let tried = "docker tag alpine registry.example.com/alpine && docker push registry.example.com/alpine";
    assert_eq!(lines[4]["command"], tried);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_missed_only_where_there_can_be_replicas() {
    let bucket = Pounce::with(&[]).await;
    let lines = start(&borrowed(&bucket.as_s3()));
    let missed = lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with("http.secret is not set"));
    assert_eq!(missed.count(), 1, "{lines:?}");
    let storage = lines.iter().find(|line| line["message"] == "content is stored in a bucket").unwrap();
    assert_eq!(
        (&storage["bucket"], &storage["endpoint"]),
        (&"pounce".into(), &format!("http://{}", bucket.addr).into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_named_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let message = fails(&[("REGISTRY_HTTP_ADDR", &taken)]);
    assert!(message.contains("http.addr") && message.contains(&taken), "{message}");

    let message = fails(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/proc/nothing")]);
    assert!(message.contains("storage.filesystem.rootdirectory: /proc/nothing"), "{message}");

    let message = fails(&[("REGISTRY_STORAGE_S3_BUKET", "x"), ("REGISTRY_STORAGE", "s3")]);
    assert!(message.contains("storage.s3.bucket: is missing"), "{message}");

    let bucket = Pounce::with(&[]).await;
    let s3 = bucket.as_s3();
    let with = |name: &str, value: &'static str| -> Vec<(&'static str, String)> {
        s3.iter().map(|(key, old)| (*key, if *key == name { value.to_owned() } else { old.clone() })).collect()
    };
    let cases = [
        ("REGISTRY_STORAGE_S3_SECRETKEY", "wrong", "storage.s3.secretkey"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://127.0.0.1:9", "storage.s3.regionendpoint"),
    ];
    for (name, value, named) in cases {
        let message = fails(&borrowed(&with(name, value)));
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fly_style_variables_find_the_bucket() {
    let bucket = Pounce::with(&[]).await;
    let s3: std::collections::HashMap<_, _> = bucket.as_s3().into_iter().collect();
    let process = Process::start(&[
        ("BUCKET_NAME", "pounce"),
        ("AWS_REGION", "auto"),
        ("AWS_ENDPOINT_URL_S3", &s3["REGISTRY_STORAGE_S3_REGIONENDPOINT"]),
        ("AWS_ACCESS_KEY_ID", &s3["REGISTRY_STORAGE_S3_ACCESSKEY"]),
        ("AWS_SECRET_ACCESS_KEY", &s3["REGISTRY_STORAGE_S3_SECRETKEY"]),
        // The bucket in the host name would need DNS.
        ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true"),
    ]);
    assert!(!process.folder.path().join("data").exists());
    let reply = reqwest::get(format!("http://{}/v2/a/manifests/v1", process.addr)).await.unwrap();
    assert_eq!(reply.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_what_was_served_and_no_secret() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a/b", "v1", &image);
    let mut process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_USERNAME", "somebody"),
        ("REGISTRY_PROXY_PASSWORD", "hunter2"),
        ("REGISTRY_LOG_LEVEL", "debug"),
        ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "redis"),
    ]);
    assert_eq!(process.seen.matches("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR is ignored").count(), 1);
    let addr = process.addr.clone();
    let url = |path: &str| format!("http://{addr}{path}");
    let blob = url(&format!("/v2/a/b/blobs/{}", digest(image.layer())));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let forged = url("/v2/%0a{\"level\":\"ERROR\"}/x");
    for address in [&blob, &forged] {
        client.get(address).send().await.unwrap().bytes().await.unwrap();
    }
    process.until("stored a blob");
    client.get(&blob).send().await.unwrap();
    upstream.behave(Manners { status: Some(403), ..Manners::default() });
    client.get(url("/v2/a/b/manifests/v1")).send().await.unwrap();
    process.until("proxy.username");
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0, "{log}");

    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    let fill = requests.iter().find(|line| line["outcome"] == "fill").unwrap();
    assert_eq!((&fill["repository"], &fill["bytes"], &fill["status"]), (&"a/b".into(), &1000.into(), &200.into()));
    assert_eq!((&fill["reference"], fill.get("complete")), (&digest(image.layer()).into(), None));
    let id = fill["request_id"].as_str().unwrap();
    assert!(id.len() > 30);
    // Background work for a request has the request's id.
    let stored = lines.iter().find(|line| line["message"] == "stored a blob").unwrap();
    assert_eq!(stored["span"]["id"], id);
    assert!(requests.iter().any(|line| line["outcome"] == "hit" && line["status"] == 307));
    assert!(lines.iter().all(|line| line["level"] != "ERROR"));
    for secret in ["hunter2", "X-Amz-Signature", "uthorization"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_blob_is_told_in_the_log() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { corrupts: true, ..Manners::default() });
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let url = format!("http://{}/v2/a/blobs/{}", process.addr, digest(image.layer()));
    assert_eq!(reqwest::get(url).await.unwrap().status(), 503);
    let line = process.until("a fill failed");
    assert!(line.contains("other bytes than were asked for") && line.contains(&digest(image.layer())), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sigterm_drains_and_the_second_one_does_not() {
    for twice in [false, true] {
        let upstream = Upstream::start().await;
        let image = Image::new(1, &[1 << 20]);
        upstream.add("a", "v1", &image);
        upstream.behave(Manners { holds_after: Some(500_000), ..Manners::default() });
        let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
        let url = format!("http://{}/v2/a/blobs/{}", process.addr, digest(image.layer()));
        let mut reply = reqwest::get(url).await.unwrap();
        reply.chunk().await.unwrap().unwrap();
        process.terminate();
        process.until("ending: ");
        let client = Client::of(&process.debug, Duration::from_secs(5));
        until_probe(&client, "/readyz", 503).await;
        assert_eq!(client.probe("/healthz").await, 200);
        if twice {
            process.terminate();
            let (status, _) = process.end();
            assert_eq!(status, 1);
        } else {
            upstream.release();
            while reply.chunk().await.unwrap().is_some() {}
            let (status, log) = process.end();
            assert_eq!(status, 0, "{log}");
            assert!(log.contains("stored a blob"), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let folder = TempDir::new().unwrap();
    let mut child = command(folder.path()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0);
    }
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    drop(log);
    let url = format!("http://{}/v2/", line["addr"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
    }
    let pid = child.id().to_string();
    Command::new("kill").arg(pid).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn no_error_waits_for_a_log_that_nobody_reads() {
    let folder = TempDir::new().unwrap();
    let mut after_logging = command(folder.path());
    after_logging.env("REGISTRY_LOG_ACCESSLOG_FILE", "/nowhere/access.log");
    let mut before_logging = command(folder.path());
    before_logging.env("REGISTRY_STORAGE", "nothing");
    let mut full_output = Command::new("sh");
    full_output.args(["-c", "echo secret | \"$0\" htpasswd --stdin --cost 4 ada >/dev/full"]).arg(program());
    for mut command in [after_logging, before_logging, full_output] {
        let (_unread, pipe) = std::io::pipe().unwrap();
        fill(&pipe);
        let mut child = command.stderr(pipe).spawn().unwrap();
        let began = Instant::now();
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            if began.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("it does not end: {command:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(ended.code(), Some(1), "{command:?}");
        // With a reader, each says why.
        let (mut text, mut read) = (Vec::new(), command.stderr(Stdio::piped()).spawn().unwrap());
        read.stderr.take().unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(read.wait().unwrap().code(), Some(1));
        let text = String::from_utf8(text).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("pounce: ") || last.contains("\"level\":\"ERROR\""), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_belongs_to_one_process_and_what_was_being_written_is_removed() {
    let pounce = Pounce::with(&[]).await;
    let root = pounce.root();
    let message = fails(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap())]);
    assert!(message.contains("storage.filesystem.rootdirectory") && message.contains("another pounce"), "{message}");
    std::fs::write(root.join(".pounce/tmp/x"), "x").unwrap();
    // An unfinished description file, as an earlier version left it when it was killed.
    std::fs::create_dir(root.join(".pounce/uploads/x")).unwrap();
    std::fs::write(root.join(".pounce/uploads/x/upload.json"), "").unwrap();
    let pounce = pounce.restart(&[]).await;
    let left = std::fs::read_dir(pounce.root().join(".pounce/tmp")).unwrap();
    assert_eq!((left.count(), pounce.open_uploads()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_the_embedded_s3_are_logged_without_their_signature() {
    let mut process = Process::start(&[]);
    let keys = std::fs::read_to_string(process.folder.path().join("data/.pounce/credentials.json"));
    let keys: serde_json::Value = serde_json::from_str(&keys.unwrap()).unwrap();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let blob = "a blob";
    let digest = digest(blob.as_bytes());
    let push = client.post(process.url(&format!("/v2/a/blobs/uploads/?digest={digest}")));
    assert_eq!(push.body(blob).send().await.unwrap().status(), 201);
    let redirect = client.get(process.url(&format!("/v2/a/blobs/{digest}")));
    let redirect = redirect.send().await.unwrap();
    let url = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), blob);
    // A signature of the same length, with another first digit.
    let (before, signature) = url.split_once("X-Amz-Signature=").unwrap();
    let other = if signature.starts_with('0') { "1" } else { "0" };
    let forged = format!("{before}X-Amz-Signature={other}{}", &signature[1..]);
    assert_eq!(client.get(&forged).send().await.unwrap().status(), 403);
    process.until("\"status\":403");
    process.terminate();
    let (_, log) = process.end();
    let line = |status: u16| {
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut found = lines.filter(|line| {
            let path = line["path"].as_str().unwrap_or_default();
            path.contains("/pounce/docker/registry/v2/blobs/") && line["status"] == status
        });
        let line = found.next().unwrap_or_else(|| panic!("no line for {status}: {log}"));
        assert!(found.next().is_none());
        line
    };
    let read = line(200);
    assert_eq!((&read["method"], &read["client"]), (&"GET".into(), &"127.0.0.1".into()));
    assert_eq!((&read["bytes"], read.get("complete")), (&blob.len().into(), None));
    line(403);
    for secret in ["X-Amz", "Signature", keys["accesskey"].as_str().unwrap()] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
