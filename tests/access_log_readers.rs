//! The access log on standard error: readers that stop, order, and the end of the process.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::command;
use crate::support::upstream::Manners;
use crate::support::{Image, Process, Upstream, metric};

const DEADLINE: Duration = Duration::from_secs(20);

/// A process whose log is read up to the line that says where it listens.
struct Unread {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: String,
    debug: String,
    _folder: TempDir,
}

fn start() -> Unread {
    let folder = TempDir::new().unwrap();
    let mut child = command(folder.path()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0);
    }
    let line: Value = serde_json::from_str(&line).unwrap();
    let at = |name: &str| line[name].as_str().unwrap().to_owned();
    Unread { child, log, addr: at("addr"), debug: at("debug"), _folder: folder }
}

impl Unread {
    /// How many lines were dropped.
    async fn dropped(&self) -> u64 {
        let page = reqwest::get(format!("http://{}/metrics", self.debug)).await.unwrap();
        metric(&page.text().await.unwrap(), "access_log_dropped")
    }

    /// Sends requests, some at a time, until lines are dropped; each is answered.
    async fn fill(&self) {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: {}\r\n\r\n", "x".repeat(256));
        let mut connection = TcpStream::connect(&self.addr).await.unwrap();
        let mut answer = vec![0; 64 << 10];
        let began = Instant::now();
        while self.dropped().await == 0 {
            assert!(began.elapsed() < DEADLINE, "nothing is dropped");
            for _ in 0..200 {
                connection.write_all(request.as_bytes()).await.unwrap();
                assert!(connection.read(&mut answer).await.unwrap() > 0);
                assert!(answer.starts_with(b"HTTP/1.1 200"));
            }
        }
    }

    fn terminate(&self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pipe_stops_no_request_and_not_the_end() {
    let mut pounce = start();
    pounce.fill().await;
    pounce.terminate();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = pounce.child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < DEADLINE, "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_on_is_told_what_it_missed() {
    let mut pounce = start();
    pounce.fill().await;
    let mut log = pounce.log;
    let reading = tokio::task::spawn_blocking(move || {
        let (mut requests, mut line) = (0, String::new());
        loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0);
            // Each line is whole.
            let read: Value = serde_json::from_str(&line).unwrap();
            if read["message"]
                .as_str()
                .is_some_and(|message| message.contains("lines of the log or of the access log were dropped"))
            {
                return (requests, read, log);
            }
            requests += u64::from(read["message"] == "request");
        }
    });
    let (requests, warning, log) = reading.await.unwrap();
    assert!(requests > 1000, "{requests}");
    assert_eq!(warning["level"], "ERROR");
    assert!(warning["lines"].as_u64().unwrap() > 0);
    Command::new("kill").arg(pounce.child.id().to_string()).status().unwrap();
    let rest = tokio::task::spawn_blocking(move || log.lines().map_while(Result::ok).last()).await.unwrap();
    assert!(rest.unwrap().contains("\"ended\""));
    assert_eq!(pounce.child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_stand_before_the_warning_that_comes_after_them() {
    let upstream = Upstream::start().await;
    upstream.add("a/b", "v1", &Image::new(1, &[10]));
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    for number in 0..5 {
        reqwest::get(process.url(&format!("/v2/early{number}/X/y"))).await.unwrap();
    }
    upstream.behave(Manners { status: Some(500), ..Manners::default() });
    let reply = reqwest::get(process.url("/v2/a/b/manifests/v1")).await.unwrap();
    assert_eq!(reply.status(), 503);
    let id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    let warning: Value = serde_json::from_str(&process.until("request failed")).unwrap();
    // With all lines before it.
    for number in 0..5 {
        assert!(process.seen.contains(&format!("/v2/early{number}/X/y")), "{}", process.seen);
    }
    assert_eq!((&warning["level"], &warning["span"]["id"]), (&"WARN".into(), &id[..].into()));
    assert!(warning["cause"].as_str().is_some_and(|cause| cause.contains("500")), "{warning}");
    // The end of the process writes what waited for more lines.
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0, "{log}");
    assert_eq!(log.matches("request failed").count(), 1, "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["request_id"] == id[..]).unwrap();
    assert_eq!((&line["status"], &line["code"]), (&503.into(), &"UNAVAILABLE".into()));
    assert!(line.get("cause").is_none());
}
