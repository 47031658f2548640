//! Mistakes with which pounce does not start, or warns at start.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::document::quotes;
use crate::check::run;
use crate::support::fake_s3::{FakeS3, Rule};
use crate::support::process::command;
use crate::support::{Pounce, Process, borrowed};

/// What a start says that fails.
fn fails(variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    let output = command.env("REGISTRY_LOG_FORMATTER", "text").envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// These variables, but for some.
fn with<'a>(variables: &'a [(&'static str, String)], others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = borrowed(variables);
    all.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
    all.extend(others);
    all
}

#[tokio::test]
async fn a_misspelt_setting() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("registry.yml");
    std::fs::write(&file, "storage:\n  s3:\n    buckett: my-bucket\n").unwrap();
    let (status, _, in_file) = run(&["serve", file.to_str().unwrap()], &[], "").await;
    assert_eq!(status, 1, "{in_file}");
    // An unknown variable ends no start.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let in_variable = fails(&[("REGISTRY_STORAGE_S3_BUCKETT", "my-bucket"), ("REGISTRY_HTTP_ADDR", &taken)]);
    quotes("A setting is misspelt", &(in_file + &in_variable));
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    quotes("The port is in use", &fails(&[("REGISTRY_HTTP_ADDR", &addr)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_and_a_misspelt_one() {
    let missing = fails(&[("REGISTRY_STORAGE", "s3")]);
    let s3 = FakeS3::start(&[]).await;
    s3.on("HeadBucket", 10, |_| async { Some((404, Vec::new(), "".into())) });
    let misspelt = fails(&with(&s3.variables(), &[("REGISTRY_STORAGE_S3_BUCKET", "my-buckett")]));
    quotes("The bucket is missing, or misspelt", &(missing + &misspelt));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys() {
    let bucket = Pounce::with(&[]).await;
    let said = fails(&with(&bucket.as_s3(), &[("REGISTRY_STORAGE_S3_SECRETKEY", "wrong")]));
    quotes("The bucket refuses the keys", &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock() {
    let s3 = FakeS3::start(&[Rule::Clock(3600)]).await;
    quotes("The clock is wrong", &fails(&borrowed(&s3.variables())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region() {
    let s3 = FakeS3::start(&[]).await;
    s3.on("HeadBucket", 10, |_| async {
        Some((301, vec![("x-amz-bucket-region", "eu-west-1".to_owned())], "".into()))
    });
    quotes("The region is wrong", &fails(&with(&s3.variables(), &[("REGISTRY_STORAGE_S3_REGION", "us-east-1")])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_reached_and_one_without_tls() {
    let s3 = FakeS3::start(&[]).await;
    let away = fails(&with(&s3.variables(), &[("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://127.0.0.1:9")]));
    let tls = format!("https://{}", s3.addr);
    let tls = fails(&with(&s3.variables(), &[("REGISTRY_STORAGE_S3_REGIONENDPOINT", &tls)]));
    quotes("The bucket cannot be reached", &(away + &tls));
}

#[test]
fn a_folder_that_takes_no_writes() {
    let folder = TempDir::new().unwrap();
    // root may write to a folder without the permission; no user may write to a file as to a folder, or to /proc.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o500)).unwrap();
    quotes("The folder cannot be written to", &fails(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/proc/pounce")]));
}

#[test]
fn a_user_whose_dollars_were_eaten() {
    // `admin:$2b$10$JzLrV…` in double quotes, or in a compose file.
    quotes("A $ was eaten", &fails(&[("REGISTRY_AUTH_HTPASSWD_USERS", "admin:JzLrVwJpvyQMTDa0BBqbH")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    let s3 = FakeS3::start(&[]).await;
    let text = [("REGISTRY_LOG_FORMATTER", "text")];
    let mut process = Process::start(&with(&s3.variables(), &text));
    s3.rules(&[Rule::FullDisk(507)]);
    let blob = "a blob";
    let digest = crate::support::image::digest(blob.as_bytes());
    let url = process.url(&format!("/v2/a/blobs/uploads/?digest={digest}"));
    let reply = reqwest::Client::new().post(url).body(blob).send().await.unwrap();
    assert_eq!(reply.status(), 503);
    let body = reply.text().await.unwrap();
    let line = process.until("request failed");
    quotes("The disk is full", &format!("{body}\n{line}"));
}
