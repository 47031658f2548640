//! `pounce clients`: what nodes get, in print and in a tree of files.

mod mirrors;
mod printed;
mod upstreams;
mod written;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use toml_edit::DocumentMut;

use crate::check::run;
use crate::support::Pounce;

const HUB: &str = "https://registry-1.docker.io";
/// Docker Hub behind the root, two further upstreams, and one of Ollama.
const UPSTREAMS: &str = "[{host: ghcr.io}, {host: 'registry.internal:5000', hostnames: [internal.example.com]}, \
                         {host: registry.ollama.ai, hostnames: [ollama.example.com], client: ollama}]";

async fn registry(more: &[(&str, &str)]) -> Pounce {
    let base = [
        ("REGISTRY_PROXY_REMOTEURL", HUB),
        ("REGISTRY_PROXY_UPSTREAMS", UPSTREAMS),
        ("REGISTRY_HTTP_SECRET", "battery staple"),
    ];
    let all: Vec<_> = base.into_iter().chain(more.iter().copied()).collect();
    Pounce::with(&all).await
}

async fn clients(arguments: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = std::iter::once("clients").chain(arguments.iter().copied()).collect();
    run(&all, &[], "").await
}

/// The printed files by their paths.
fn files(printed: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut path = "";
    for line in printed.lines() {
        let title = line.strip_prefix("# ");
        if let Some(title) = title.filter(|it| it.starts_with('/') || it.starts_with("pounce.yaml")) {
            path = title.split(',').next().unwrap();
        } else {
            let text: &mut String = files.entry(path.to_owned()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    files
}

/// TOML as JSON.
fn toml(text: &str) -> Value {
    fn value(item: &toml_edit::Item) -> Value {
        if let Some(table) = item.as_table_like() {
            return table.iter().map(|(key, item)| (key.to_owned(), value(item))).collect();
        }
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|table| value(&toml_edit::Item::Table(table.clone()))).collect();
        }
        if let Some(array) = item.as_array() {
            return array.iter().map(|it| value(&toml_edit::Item::Value(it.clone()))).collect();
        }
        item.as_str().map(Value::from).or(item.as_bool().map(Value::from)).unwrap()
    }
    let document: DocumentMut = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    value(document.as_item())
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every file and directory below a root, with its mode and its text.
fn everything(root: &Path) -> BTreeMap<String, (u32, String)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let text = if metadata.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (metadata.permissions().mode() & 0o7777, text));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A server that answers every request with a status, and a body, or with nothing.
async fn server(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = tokio::io::AsyncReadExt::read(&mut connection, &mut request).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            match answer(&line) {
                Some(response) => connection.write_all(response.as_bytes()).await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

const API: &str = "Docker-Distribution-Api-Version: registry/2.0\r\n";
