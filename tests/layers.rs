//! The house: who may use whom (see `src/lib.rs`), read off the `use` lines and paths.

use std::path::{Path, PathBuf};

/// Each layer with those that it may use. `config` and `telemetry` stand beside all of them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("telemetry", &["config", "oci"]),
    ("config", &["oci"]),
    ("store", &["oci", "config", "telemetry"]),
    ("upstream", &["oci", "config", "telemetry"]),
    ("registry", &["oci", "config", "telemetry", "store", "upstream", "shares"]),
    ("auth", &["oci", "config", "telemetry", "reload", "shares", "client_network"]),
    ("reload", &[]),
    ("client_network", &[]),
    ("shares", &[]),
    // The store only for the type of the S3 server that shares the listener.
    ("http", &["oci", "config", "telemetry", "reload", "client_network", "registry", "auth", "store"]),
    // What a command does without serving; `check` tries each layer by itself.
    ("cli", &["oci", "config", "telemetry", "server", "http", "registry", "auth", "store", "upstream"]),
];

/// Words that stay behind one wall.
const WALLED: &[(&str, &[&str])] = &[
    ("axum", &["http", "server.rs"]),
    ("StatusCode", &["http", "upstream"]),
    ("aws_sdk_s3", &["store"]),
    ("aws_config", &["store"]),
    ("reqwest", &["upstream"]),
    ("s3s", &["store"]),
    ("moka", &["registry", "upstream", "auth"]),
    ("bcrypt", &["auth"]),
    ("jsonwebtoken", &["auth"]),
    ("tokio_rustls", &["http", "auth"]),
    ("indicatif", &["cli"]),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that a file names: `crate::x`, `crate::{x, y::z}`.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap(),
            None => after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap(),
        };
        found.extend(list.split(',').map(|path| path.trim().split("::").next().unwrap().to_owned()));
    }
    found
}

#[test]
fn nothing_points_back_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40, "the sources are not where they are looked for");
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let layer = relative.split('/').next().unwrap();
        let code = code(&file);
        for (word, places) in WALLED {
            let named = code.contains(&format!("{word}::"));
            assert!(!named || places.contains(&layer), "{relative} names {word}, which only {places:?} may");
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for module in used(&code) {
            let own = module == layer || !MAY_USE.iter().any(|(name, _)| *name == module);
            assert!(own || allowed.contains(&module.as_str()), "{relative} uses {module}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} uses were found");
}
