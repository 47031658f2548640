//! Commands whose output takes no more: a full disk, and a pipe whose reader has ended.

use std::fs::{File, read_to_string};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{Process, program};

/// Runs the program with this standard output, and a password as its input: its exit status, and standard error.
fn run(arguments: &[&str], output: Stdio) -> (i32, String) {
    let mut command = Command::new(program());
    command.env_clear().args(arguments).stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads no input may have ended already.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"secret\n");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    (ended.status.code().unwrap(), said)
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nothing reads.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_and_cannot_be_printed_is_an_error() {
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io")]);
    let (folder, url) = (TempDir::new().unwrap(), process.url(""));
    let tree = folder.path().to_str().unwrap();
    let config = folder.path().join("registry.yml");
    let text = format!("storage: {{filesystem: {{rootdirectory: {tree}/data}}}}\nauth: {{anonymous: [pull]}}\n");
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let commands: [(&[&str], i32, i32); 7] = [
        (&["clients", &url, "--root", tree], 1, 0),
        (&["clients", &url, "talos", "--root", tree], 1, 0),
        (&["htpasswd", "-c", "4", "alice"], 1, 0),
        (&["status", &process.debug], 1, 0),
        (&["status", "--watch", "--json", &process.debug], 1, 0),
        // The exit status is that of the checks.
        (&["check", config], 2, 0),
        (&["check", "--for", "distribution", config], 2, 2),
    ];
    for (arguments, at_full, at_closed) in commands {
        let (status, said) = run(arguments, full());
        assert_eq!(status, at_full, "{arguments:?}: {said}");
        assert!(said.contains("pounce: standard output: No space left on device"), "{arguments:?}: {said}");
        let (status, said) = run(arguments, closed());
        assert!(status == at_closed && !said.contains("standard output"), "{arguments:?}: {status} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_does_not_depend_on_who_reads_of_it() {
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io")]);
    for (number, output) in [full as fn() -> Stdio, closed].into_iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (users, config, data) = (at("users"), at("registry.yml"), at("data"));
        assert_eq!(run(&["htpasswd", "-c", "4", "--file", &users, "alice"], output()).0, 0);
        assert!(read_to_string(&users).unwrap().starts_with("alice:$2b$04$"));
        let init = ["init", "--folder", &data, "--no-upstream", "--user", "bob", "--output", &config];
        let (_, said) = run(&init, output());
        assert!(said.contains("password of bob: "), "{said}");
        assert!(read_to_string(at("htpasswd")).unwrap().starts_with("bob:"));
        assert!(read_to_string(&config).unwrap().contains("htpasswd"));
        // The changes of a node's files are shown before they are made: without a disk for that, none is made.
        let tree = at("");
        let write = ["clients", &process.url(""), "podman", "--write", "--root", &tree];
        let written = run(&write, output()).0 == 0;
        assert_eq!((written, folder.path().join("etc/containers").exists()), (number == 1, number == 1));
    }
}
