//! `/status` of the debug listener, and `pounce status`, which shows it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Process, Upstream, program};

async fn status(process: &Process) -> Value {
    let reply = reqwest::get(format!("http://{}/status", process.debug)).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "application/json");
    serde_json::from_str(&reply.text().await.unwrap()).unwrap()
}

async fn until(process: &Process, reached: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let status = status(process).await;
        if reached(&status) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_is_shown_while_it_runs_and_counted_when_it_ends() {
    const SIZE: usize = 3 << 20;
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[SIZE]);
    upstream.add("team/app", "v1", &image);
    upstream.behave(Manners { holds_after: Some(1 << 20), ..Manners::default() });
    let process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_USERNAME", "user"),
        ("REGISTRY_PROXY_PASSWORD", "hunter2"),
        ("REGISTRY_PROXY_PREFETCH", "false"),
    ]);
    let before = status(&process).await;
    assert_eq!((&before["blobs"]["hit_ratio"], &before["fills"]["running"]), (&Value::Null, &0.into()));

    let url = process.url(&format!("/v2/team/app/blobs/{}", digest(image.layer())));
    let pulling = tokio::spawn({
        let url = url.clone();
        async move { reqwest::get(url).await.unwrap().bytes().await.unwrap() }
    });
    let running = until(&process, |status| status["fills"]["list"][0]["received"].as_u64() >= Some(1 << 20)).await;
    let (fills, fill) = (&running["fills"], &running["fills"]["list"][0]);
    assert_eq!((&fills["running"], &fills["waiting"], &fills["stored"]), (&1.into(), &0.into(), &0.into()));
    assert_eq!((&fill["repository"], &fill["digest"]), (&"team/app".into(), &digest(image.layer()).into()));
    assert_eq!((&fill["size"], &fill["readers"], &fill["connections"]), (&SIZE.into(), &1.into(), &1.into()));
    assert_eq!((&fill["shared"], &fill["upstream"]), (&"alone".into(), &upstream.url().into()));
    upstream.release();
    assert_eq!(pulling.await.unwrap(), image.layer());
    process.until_quiet().await;

    // All of it, and ten bytes of it, from the bucket.
    assert_eq!(client().get(&url).send().await.unwrap().status(), 307);
    assert_eq!(client().get(&url).header("range", "bytes=0-9").send().await.unwrap().status(), 307);
    assert_eq!(client().head(&url).send().await.unwrap().status(), 200);
    let ended = until(&process, |status| status["bytes"]["streamed"] == SIZE).await;
    let bytes = &ended["bytes"];
    assert_eq!((&bytes["redirected"], &bytes["fetched"]), (&(SIZE + 10).into(), &SIZE.into()));
    assert_eq!(bytes["saved"], SIZE + 10);
    assert_eq!((&ended["blobs"]["answered"], &ended["blobs"]["hits"]), (&3.into(), &2.into()));
    assert_eq!(ended["blobs"]["hit_ratio"], 0.6667);
    let fills = &ended["fills"];
    assert_eq!((&fills["running"], &fills["stored"], &fills["failed"]), (&0.into(), &1.into(), &0.into()));
    // The same numbers as the metrics.
    assert_eq!(process.metric("redirected_bytes").await, SIZE as u64 + 10);
    let answer = &ended["upstreams"][0]["last_answer"];
    assert_eq!((&answer["status"], &ended["upstreams"][0]["failing"]), (&200.into(), &Value::Null));
    assert_eq!(ended["bucket"]["last_answer"]["status"].as_u64().map(|status| status / 100), Some(2), "{ended}");
    assert_eq!(ended["bucket"]["folder"], process.folder.path().join("data").to_str().unwrap());
    assert_eq!(ended["caches"]["blobs"]["entries"], 1);
    assert!(!ended.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_shown_until_it_answers() {
    let upstream = Upstream::start().await;
    upstream.add("a", "v1", &Image::new(1, &[10]));
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let url = process.url("/v2/a/manifests/v1");
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 503);
    let failing = until(&process, |status| status["upstreams"][0]["failing"].is_object()).await;
    let failing = &failing["upstreams"][0];
    assert!(failing["failing"]["cause"].as_str().unwrap().contains("503"), "{failing}");
    assert!(failing["failing"]["since"].as_str().unwrap().ends_with('Z') && failing["last_answer"]["status"] == 503);
    upstream.behave(Manners::default());
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
    assert_eq!(status(&process).await["upstreams"][0]["failing"], Value::Null);
}

/// Runs `pounce status` with these arguments and variables; its exit code, and what it prints.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(program());
    command.env_clear().arg("status").args(arguments).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_table_or_the_json() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1 << 20]);
    upstream.add("team/app", "v1", &image);
    upstream.behave(Manners { holds_after: Some(512 << 10), ..Manners::default() });
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let url = process.url(&format!("/v2/team/app/blobs/{}", digest(image.layer())));
    let pulling = tokio::spawn(async move { reqwest::get(url).await.unwrap().bytes().await.unwrap() });
    until(&process, |status| status["fills"]["list"][0]["received"] == 512 << 10).await;

    let (code, table, errors) = run(&[&process.debug], &[]);
    assert_eq!((code, &errors[..]), (0, ""));
    let line = |begin: &str| table.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{table}"));
    assert!(line("pounce ").contains(env!("CARGO_PKG_VERSION")), "{table}");
    let short = &digest(image.layer())["sha256:".len()..][..12];
    let fill = line(&format!("  team/app@{short}"));
    assert!(fill.contains(" 1.00 MiB ") && fill.contains(" 50% ") && fill.ends_with(" alone"), "{table}");
    assert!(line("bytes ").contains("512.00 KiB fetched"), "{table}");
    assert!(line("upstreams").contains("200 in "), "{table}");
    assert!(table.lines().all(|line| line.len() <= 80 && line.is_ascii()), "{table}");

    let (code, json, _) = run(&["--json", &format!("http://{}", process.debug)], &[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["fills"]["list"][0]["repository"]), (0, &"team/app".into()));
    // A configuration is named as for `serve`.
    let config = process.folder.path().join("registry.yml");
    std::fs::write(&config, format!("http: {{debug: {{addr: '{}'}}}}\n", process.debug)).unwrap();
    let (code, table, errors) = run(&[config.to_str().unwrap()], &[]);
    assert!(code == 0 && table.contains("team/app@"), "{table}{errors}");
    // By default it asks the listener of the configuration.
    let (code, table, _) = run(&[], &[("REGISTRY_HTTP_DEBUG_ADDR", &process.debug)]);
    assert!(code == 0 && table.contains("team/app@"), "{table}");
    upstream.release();
    pulling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_prints_again_and_moves_no_cursor_in_a_pipe() {
    let process = Process::start(&[]);
    let mut command = Command::new(program());
    command.env_clear().args(["status", "--watch", &process.debug]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut titles = 0;
    for line in lines {
        assert!(!line.contains('\x1b'), "{line:?}");
        titles += usize::from(line.starts_with("pounce "));
        if titles == 2 {
            break;
        }
    }
    assert_eq!(titles, 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_debug_listener_is_told() {
    let (code, _, error) = run(&[], &[]);
    assert!(code == 1 && error.contains("http.debug.addr is not set") && error.contains("REGISTRY_"), "{error}");
    let (code, _, error) = run(&["127.0.0.1:9"], &[]);
    assert!(code == 1 && error.contains("http://127.0.0.1:9/status") && error.contains("http.debug.addr"), "{error}");
    let process = Process::start(&[]);
    let (code, _, error) = run(&[&process.addr], &[]);
    assert!(code == 1 && error.contains("http.debug.addr"), "{error}");
    let (code, _, error) = run(&[&format!("https://{}", process.debug)], &[]);
    assert!(code == 1 && error.contains("does not speak TLS at that port: write http://"), "{error}");
}
