//! The access log in a file: rotation, disks that are full, and what the level has to do with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::process::{command, fill};
use crate::support::upstream::Manners;
use crate::support::{Image, Process, Upstream};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_cut_off_is_ended_before_the_next() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("access.log");
    // As a full disk, or a kill in the middle of a write, leaves it.
    std::fs::write(&file, "whole\ncut off").unwrap();
    let mut process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_FILE", file.to_str().unwrap())]);
    until_logged(&process, "/v2/first/x", &file).await;
    let log = read(&file);
    assert!(log.starts_with("whole\ncut off\n{") && !log.contains("\n\n"), "{log}");

    let mut appended = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut appended, b"cut off again").unwrap();
    Command::new("kill").args(["-HUP", &process.pid().to_string()]).status().unwrap();
    process.until("SIGHUP");
    until_logged(&process, "/v2/second/x", &file).await;
    let log = read(&file);
    assert!(log.contains("\ncut off again\n{") && !log.contains("\n\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_pipe_that_is_full_is_left_when_it_is_moved() {
    let folder = TempDir::new().unwrap();
    let (file, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    // A reader that stalls.
    let pipe = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    fill(&pipe);
    let mut process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_FILE", file.to_str().unwrap())]);
    get(&process, "/v2/first/x").await;
    // Until the line is to be written.
    tokio::time::sleep(Duration::from_millis(500)).await;
    std::fs::rename(&file, &moved).unwrap();
    until_logged(&process, "/v2/second/x", &file).await;
    let line = process.until("the log cannot be written");
    assert!(line.contains("access.log"), "{line}");
    assert!(process.metric("access_log_dropped").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_access_log_keep_their_order_on_one_pipe() {
    for file in ["/dev/stderr", "/dev/stdout"] {
        let upstream = Upstream::start().await;
        upstream.add("a/b", "v1", &Image::new(1, &[10]));
        upstream.behave(Manners { status: Some(500), ..Manners::default() });
        let folder = TempDir::new().unwrap();
        let (log, pipe) = std::io::pipe().unwrap();
        let mut command = command(folder.path());
        command.env("REGISTRY_LOG_ACCESSLOG_FILE", file).env("REGISTRY_PROXY_REMOTEURL", upstream.url());
        let mut child = command.stdout(pipe.try_clone().unwrap()).stderr(pipe).spawn().unwrap();
        // It has the other ends of the pipe, which shall close with the process.
        drop(command);
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(log)).map(Result::unwrap);
        let line = lines.find(|line| line.contains("\"listening\"")).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let addr = line["addr"].as_str().unwrap();
        reqwest::get(format!("http://{addr}/v2/early/X/y")).await.unwrap();
        assert_eq!(reqwest::get(format!("http://{addr}/v2/a/b/manifests/v1")).await.unwrap().status(), 503);
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        let lines: Vec<_> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{lines:#?}"));
        assert!(at("/v2/early/X/y") < at("request failed"), "{file}: {lines:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_start() {
    let folder = TempDir::new().unwrap();
    let output = command(folder.path()).env("REGISTRY_LOG_ACCESSLOG_FILE", "/nowhere/access.log").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(line["message"].as_str().unwrap().starts_with("log.accesslog.file: "), "{log}");
}
