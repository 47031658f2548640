//! Rules without effect, or with another effect than they seem to have: errors at start.

use std::path::{Path, PathBuf};

use pounce::config::{Config, Environment};

const USERS: &str = "auth: {htpasswd: {path: /x}, rules: RULES}";
/// Docker Hub, and two more.
const UPSTREAMS: &str = "
proxy: {remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}, {host: 'registry:5000'}]}";

fn load(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    std::fs::write(&path, text).unwrap();
    let loaded = Config::load(Some(&path), &Environment::default());
    loaded.map(drop).map_err(|error| error.to_string())
}

fn rules(rules: &str) -> Result<(), String> {
    load(&(USERS.replace("RULES", rules) + UPSTREAMS))
}

#[test]
fn a_rule_that_does_nothing_is_an_error() {
    let cases = [
        // Syntax of other globs.
        ("[{users: [a], repositories: ['{a,b}/**']}]", "{ has no meaning"),
        ("[{users: [a], repositories: ['a\\*']}]", "has no meaning"),
        ("[{users: ['{a,b}']}]", "{ has no meaning"),
        ("[{users: ['[!a]']}]", "a class is"),
        ("[{users: [a], repositories: ['[a/b]']}]", "a class is"),
        ("[{users: [a], repositories: ['[!a]/**']}]", "! has no meaning"),
        ("[{users: [a], repositories: ['[^a]/**']}]", "^ has no meaning"),
        ("[{users: [a], repositories: ['team**']}]", "whole component"),
        ("[{users: [a], repositories: ['team/***']}]", "whole component"),
        ("[{users: [a], repositories: ['']}]", "is empty"),
        ("[{users: [a], repositories: []}]", "auth.rules.0.repositories"),
        ("[{users: [], actions: [pull]}]", "auth.rules.0.users"),
        // Host names.
        ("[{users: [a], repositories: ['quay.io/**'], actions: [pull]}]", "no upstream has the host quay.io"),
        ("[{users: [a], repositories: ['localhost/**'], actions: [pull]}]", "no upstream has the host localhost"),
        ("[{users: [a], repositories: ['*.io/**'], actions: [pull]}]", "write the host out"),
        ("[{users: [a], repositories: ['docker.*/**'], actions: [pull]}]", "write the host out"),
        ("[{users: [a], repositories: ['docker.io/ghcr.io/**'], actions: [pull]}]", "no repository has this name"),
        ("[{users: [a], repositories: ['registry:5000/**'], actions: [pull]}]", "registry_5000/**"),
        ("[{users: [a], repositories: [docker.io], actions: [pull]}]", "no repository has this name"),
        ("[{users: [a], repositories: [ghcr.io], actions: [pull]}]", "no repository has this name"),
        ("[{users: [a], repositories: ['docker.io/**'], actions: [pull, push]}]", "what is pushed is not content"),
        ("[{users: [a], repositories: ['ghcr.io/**'], actions: [push]}]", "what is pushed is not content"),
        ("[{users: [a], repositories: ['registry_5000/**'], actions: [push]}]", "what is pushed is not content"),
        // An earlier rule always decides.
        ("[{users: ['*'], actions: [pull]}, {users: [a], actions: [push]}]", "auth.rules.1"),
        ("[{users: [a], actions: [pull]}, {users: [a], repositories: [b], actions: [push]}]", "auth.rules.1"),
        ("[{users: [a], repositories: ['**']}, {users: [a]}]", "auth.rules.1"),
        ("[{users: [a], repositories: ['b/**']}, {users: [a], repositories: ['b/c', 'b/d/*']}]", "auth.rules.1"),
        ("[{users: ['ci-*']}, {users: [ci-1, 'ci-a*']}]", "auth.rules.1"),
        ("[{users: [anonymous]}, {users: [a], actions: [pull]}]", "auth.rules.1"),
        (
            "[{users: [anonymous], actions: [pull]}, {users: [anonymous], repositories: [a], actions: [push]}]",
            "auth.rules.1",
        ),
        (
            "[{users: ['*'], repositories: ['docker.io/**'], actions: [pull]}, \
             {users: [a], repositories: ['docker.io/b/**'], actions: [pull]}]",
            "auth.rules.1",
        ),
        (
            "[{users: ['*'], repositories: ['**'], actions: [pull]}, \
             {users: [a], repositories: ['ghcr.io/**'], actions: [pull]}]",
            "auth.rules.1",
        ),
        // Repeating the host makes no difference.
        (
            "[{users: [a], repositories: ['ghcr.io/a/**'], actions: [pull]}, \
             {users: [a], repositories: ['ghcr.io/ghcr.io/a/b'], actions: [pull]}]",
            "auth.rules.1",
        ),
        // Several earlier rules together always decide.
        (
            "[{users: [a], actions: [pull]}, {users: [b], actions: [pull]}, {users: [a, b], actions: [push]}]",
            "auth.rules.2",
        ),
        (
            "[{users: ['*'], repositories: ['a/**']}, {users: ['*'], repositories: ['b/**']}, \
             {users: [x], repositories: ['a/1', 'b/2'], actions: [pull]}]",
            "auth.rules.2",
        ),
    ];
    for (text, expected) in cases {
        let error = rules(text).expect_err(text);
        assert!(error.contains("auth.rules.") && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_rule_that_sometimes_decides_is_none() {
    for text in [
        "[{users: ['*'], repositories: ['team/*'], actions: [pull]}, {users: [a], repositories: ['team/**'], actions: [push]}]",
        "[{users: ['*'], actions: [pull]}, {users: [anonymous], actions: [pull]}]",
        "[{users: [a], actions: [pull]}, {users: ['*'], actions: [pull]}]",
        "[{users: [a], repositories: ['a/**']}, {users: [b], repositories: ['b/**']}, {users: [a, b], repositories: ['a/**', 'b/**'], actions: [pull]}]",
        // Pushed content is left to the next rule.
        "[{users: ['*'], repositories: ['docker.io/**', 'ghcr.io/**'], actions: [pull]}, {users: ['*'], repositories: ['team/**'], actions: [push]}]",
        "[{users: ['*'], repositories: ['docker.io/team/**'], actions: [pull]}, {users: ['*'], repositories: ['team/**'], actions: [pull]}]",
        "[{users: ['*'], repositories: ['docker.io/a/**'], actions: [pull]}, {users: ['*'], repositories: ['docker.io/a/b'], actions: []}]",
        "[{users: [a], repositories: ['registry_5000/**', 'registry-1.docker.io/b/*'], actions: [pull, delete]}]",
        "[{users: [a], repositories: ['ghcr.io/docker.io/a'], actions: [pull]}]",
        "[{users: [a], repositories: ['my.app', 'a.b-*'], actions: [push]}]",
    ] {
        rules(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    // Without upstreams, no component is a host.
    let alone = USERS.replace("RULES", "[{users: [a], repositories: ['my.org/**'], actions: [push]}]");
    load(&alone).unwrap();
}

/// The blocks of YAML in the documents, and the commented examples of `config/registry.yml`.
fn examples() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root.join("docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut found = Vec::new();
    for path in documents.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            found.push((path.clone(), block.replace("...", "x")));
        }
    }
    found
}

#[test]
fn examples_of_the_documents_load() {
    let examples = examples();
    assert!(examples.len() >= 2, "{examples:?}");
    for (path, text) in examples {
        // The documents show rules without the upstreams that they name.
        let text = if text.contains("rules:") && !text.contains("proxy:") { text + UPSTREAMS } else { text };
        load(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
    }
}

#[test]
fn the_example_of_rules_in_the_configuration_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("config/registry.yml")).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("  #   - users:"));
    let example: Vec<&str> =
        lines.take_while(|line| line.starts_with("  #   ")).map(|line| &line["  #   ".len()..]).collect();
    assert!(example.len() > 3, "{example:?}");
    let indented = example.join("\n    ");
    load(&format!("auth:\n  htpasswd: {{path: /x}}\n  rules:\n    {indented}{UPSTREAMS}")).unwrap();
}
