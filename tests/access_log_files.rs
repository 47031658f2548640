//! The access log in a file: rotation, disks that are full, and what the level has to do with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::Process;
use crate::support::process::command;

const DEADLINE: Duration = Duration::from_secs(20);

async fn get(process: &Process, path: &str) {
    let reply = reqwest::get(process.url(path)).await.unwrap();
    reply.bytes().await.unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Requests a path until its line is in the file. A file that moved is noticed once a second.
async fn until_logged(process: &Process, path: &str, file: &Path) {
    let began = Instant::now();
    while !read(file).contains(path) {
        assert!(began.elapsed() < DEADLINE, "no {path} in {}", file.display());
        get(process, path).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_moves_is_opened_anew_with_and_without_sighup() {
    let folder = TempDir::new().unwrap();
    let (file, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let mut process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_FILE", file.to_str().unwrap())]);
    until_logged(&process, "/v2/first/x", &file).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    std::fs::rename(&file, &moved).unwrap();
    until_logged(&process, "/v2/second/x", &file).await;
    assert!(read(&moved).contains("/v2/first/x"));

    std::fs::rename(&file, &moved).unwrap();
    Command::new("kill").args(["-HUP", &process.pid().to_string()]).status().unwrap();
    process.until("SIGHUP");
    get(&process, "/v2/third/x").await;
    // No look at the path is due: the signal alone opens the file, before the next line is written.
    until_logged(&process, "/v2/third/x", &file).await;
    assert!(!read(&moved).contains("/v2/third/x"));

    std::fs::remove_file(&file).unwrap();
    until_logged(&process, "/v2/fourth/x", &file).await;

    get(&process, "/v2/last/x").await;
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0, "{log}");
    // The end of the process writes what waited for more lines.
    assert!(read(&file).contains("/v2/last/x"));
    assert!(!log.contains("/v2/last/x"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_request_and_is_logged_once() {
    let mut process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_FILE", "/dev/full")]);
    let began = Instant::now();
    while process.metric("access_log_errors").await < 3 {
        assert!(began.elapsed() < DEADLINE);
        get(&process, "/v2/").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(process.metric("access_log_dropped").await >= 3);
    let line = process.until("the log cannot be written");
    assert!(line.contains("/dev/full") && line.contains("No space left"), "{line}");
    process.terminate();
    let (status, log) = process.end();
    assert_eq!((status, log.matches("the log cannot be written").count()), (0, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_leaves_requests_out_of_the_log_and_not_out_of_a_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("access.log");
    for (level, in_log) in [("info", true), ("warn", false)] {
        for (variable, value) in [("REGISTRY_NONE", ""), ("REGISTRY_LOG_ACCESSLOG_FILE", file.to_str().unwrap())] {
            let in_file = variable != "REGISTRY_NONE";
            let folder = TempDir::new().unwrap();
            // A log of warnings does not say where it listens.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let mut command = command(folder.path());
            command.env("REGISTRY_HTTP_ADDR", &port).env("REGISTRY_LOG_LEVEL", level).env(variable, value);
            let child = command.spawn().unwrap();
            let path = format!("/v2/{level}-{in_file}/x");
            let url = format!("http://{port}{path}");
            let began = Instant::now();
            while reqwest::get(&url).await.is_err() {
                assert!(began.elapsed() < DEADLINE);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Command::new("kill").arg(child.id().to_string()).status().unwrap();
            let output = child.wait_with_output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            assert_eq!(log.contains(&path), in_log && !in_file, "{log}");
            assert_eq!(read(&file).contains(&path), in_file, "{}", read(&file));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_is_a_file_too() {
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.env("REGISTRY_LOG_ACCESSLOG_FILE", "/dev/stdout").stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut log, &mut line).unwrap(), 0);
    }
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    reqwest::get(format!("http://{}/v2/seen/x", line["addr"].as_str().unwrap())).await.unwrap();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("/v2/seen/x"));
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_start() {
    let folder = TempDir::new().unwrap();
    let output = command(folder.path()).env("REGISTRY_LOG_ACCESSLOG_FILE", "/nowhere/access.log").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.lines().last().unwrap().starts_with("pounce: log.accesslog.file: "), "{log}");
}
