//! A configuration that changes while pounce serves: users, rules and upstreams count at once.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::fake_s3::keys::{KeyPair, May};
use crate::support::process::started;
use crate::support::users::{password, user};
use crate::support::{FakeS3, Image, Process, Upstream, program};

/// A registry with a configuration in a file.
struct Served {
    process: Process,
    file: PathBuf,
    client: reqwest::Client,
}

impl Served {
    fn start(yaml: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), yaml)
    }

    fn start_in(folder: TempDir, yaml: &str) -> Self {
        let file = folder.path().join("registry.yml");
        std::fs::write(&file, yaml).unwrap();
        let mut command = Command::new(program());
        started(&mut command, folder.path()).arg("serve").arg(&file);
        Self { process: Process::of(command, folder), file, client: reqwest::Client::new() }
    }

    /// Writes the file anew, as editors do, and waits for this in the log.
    fn change(&mut self, yaml: &str, log: &str) -> String {
        let new = self.file.with_extension("new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
        self.process.until(log)
    }

    /// Guesses a password.
    async fn guess(&self, password: u8) -> u16 {
        let request = self.client.get(self.process.url("/v2/"));
        let request = request.basic_auth("tid_guesses_0123456", Some(password.to_string()));
        request.send().await.unwrap().status().as_u16()
    }

    async fn status(&self, name: Option<&str>, path: &str) -> u16 {
        let request = self.client.get(self.process.url(path));
        let request = match name {
            Some(name) => request.basic_auth(name, Some(password(name))),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    }
}

fn auth(users: &[&str], rules: &str) -> String {
    let lines: Vec<String> = users.iter().map(|name| user(name)).collect();
    format!("auth: {{htpasswd: {{users: '{}'}}, rules: {rules}}}", lines.join(","))
}

const SWAPPED: &str = "clients have access";

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_users_count_at_once() {
    let mut served = Served::start(&auth(&["alice", "bob"], "[{users: [alice], actions: [pull]}]"));
    let list = "/v2/a/tags/list";
    assert_eq!((served.status(Some("alice"), list).await, served.status(Some("bob"), list).await), (404, 403));

    served.change(&auth(&["alice", "bob"], "[{users: [bob], actions: [pull]}]"), SWAPPED);
    assert_eq!((served.status(Some("alice"), list).await, served.status(Some("bob"), list).await), (403, 404));

    served.change(&auth(&["bob"], "[{users: [anonymous, bob], actions: [pull]}]"), SWAPPED);
    assert_eq!((served.status(Some("alice"), "/v2/").await, served.status(Some("bob"), list).await), (401, 404));
    assert_eq!(served.status(None, list).await, 404);

    // Without users, what all may do.
    served.change("auth: {anonymous: [pull]}", SWAPPED);
    assert_eq!(served.status(None, list).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_what_there_was_and_says_so() {
    let good = auth(&["alice"], "[{users: [alice], actions: [pull]}]");
    let mut served = Served::start(&good);
    let bad = [
        ("auth: [", "registry.yml"),
        ("auth: {htpasswd: {users: 'a:b'}, rules: [{users: [alice]", "registry.yml"),
        ("auht: {}", "auht"),
        ("auth: {htpasswd: {path: /dev/null/users}}", "/dev/null/users"),
        ("auth: {token: {realm: 'https://x', service: s, issuer: i, rootcertbundle: /nowhere}}", "/nowhere"),
        ("proxy: {upstreams: [{remoteurl: 'http://127.0.0.1:1'}]}", "proxy.upstreams.0.host"),
        ("proxy: {allow: [a], deny: ['**'], remoteurl: 'http://127.0.0.1:1'}", "proxy.allow"),
    ];
    for (yaml, named) in bad {
        let line = served.change(yaml, "\"level\":\"ERROR\"");
        assert!(line.contains("reload: ") && line.contains(named), "{yaml}: {line}");
        assert_eq!(served.status(Some("alice"), "/v2/a/tags/list").await, 404, "{yaml}");
        assert_eq!(served.status(None, "/v2/a/tags/list").await, 401, "{yaml}");
    }
    std::fs::remove_file(&served.file).unwrap();
    served.process.until("\"level\":\"ERROR\"");
    assert_eq!(served.status(Some("alice"), "/v2/").await, 200);
    served.change(&good, SWAPPED);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_come_go_and_change() {
    let [first, second] = [Upstream::start().await, Upstream::start().await];
    let image = Image::new(1, &[100]);
    first.add("a/one", "v1", &image);
    second.add("a/two", "v1", &image);
    let mut served = Served::start(&format!("proxy: {{remoteurl: '{}'}}", first.url()));
    let [one, two, of_second] =
        ["/v2/a/one/manifests/v1", "/v2/a/two/manifests/v1", "/v2/second.test/a/two/manifests/v1"];
    assert_eq!((served.status(None, one).await, served.status(None, of_second).await), (200, 404));

    let both = |more: &str| {
        let second = format!("{{host: second.test, remoteurl: '{}'{more}}}", second.url());
        format!("proxy: {{remoteurl: '{}', upstreams: [{second}]}}", first.url())
    };
    served.change(&both(""), SWAPPED);
    assert_eq!((served.status(None, of_second).await, served.status(None, two).await), (200, 404));
    // The first one is the same as before, with what it knows: no ping, no new challenge.
    assert_eq!(first.count("GET", "/v2/"), first.seen().len());

    served.change(&both(", deny: ['**']"), SWAPPED);
    assert_eq!(served.status(None, "/v2/second.test/a/two/manifests/v2").await, 403);
    assert_eq!(served.status(None, of_second).await, 200, "what the bucket has");

    let waits = served
        .change(&format!("http: {{draintimeout: 7s}}\nproxy: {{remoteurl: '{}'}}", second.url()), "after a restart");
    assert!(waits.contains("http.draintimeout") && !waits.contains("proxy."), "{waits}");
    assert_eq!(served.status(None, two).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_it_starts_counts() {
    let folder = TempDir::new().unwrap();
    let users = folder.path().join("users");
    assert!(Command::new("mkfifo").arg(&users).status().unwrap().success());
    let before = format!("auth: {{htpasswd: {{path: '{}'}}}}", users.display());
    let file = folder.path().join("registry.yml");
    let changing = std::thread::spawn(move || {
        // It opens when pounce has read the configuration, and asks for the users that it names.
        let mut pipe = std::fs::File::options().write(true).open(users).unwrap();
        let new = file.with_extension("new");
        std::fs::write(&new, auth(&["bob"], "[]")).unwrap();
        std::fs::rename(&new, &file).unwrap();
        writeln!(pipe, "{}", user("alice")).unwrap();
    });
    let mut served = Served::start_in(folder, &before);
    changing.join().unwrap();
    served.process.until(SWAPPED);
    assert_eq!((served.status(Some("alice"), "/v2/").await, served.status(Some("bob"), "/v2/").await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_all_again() {
    let mut served = Served::start("auth: {anonymous: [pull]}");
    Command::new("kill").args(["-HUP", &served.process.pid().to_string()]).status().unwrap();
    served.process.until("SIGHUP");
    served.process.until("the configuration is read again");
    served.process.until(SWAPPED);
    assert_eq!(served.status(None, "/v2/a/tags/list").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_bucket_become_logins_and_end() {
    let s3 = FakeS3::start(&[]).await;
    let pair = KeyPair { id: "tid_reader_012345678", secret: "tid_reader_012345678's", may: May::ALL };
    s3.know(&[pair]);
    let storage = format!(
        "storage: {{s3: {{bucket: bucket, regionendpoint: 'http://{}', forcepathstyle: true, region: auto, \
         accesskey: a, secretkey: b}}}}\n",
        s3.addr
    );
    let of = |auth: &str| format!("{storage}http: {{secret: x}}\nauth: {auth}");
    let alice = user("alice");
    let mut served = Served::start(&of(&format!("{{htpasswd: {{users: '{alice}'}}}}")));
    let (keys, hello) = (Some("tid_reader_012345678"), "/v2/");
    assert_eq!((served.status(Some("alice"), hello).await, served.status(keys, hello).await), (200, 401));
    served.change(&of("{bucketkeys: true}"), SWAPPED);
    assert_eq!((served.status(Some("alice"), hello).await, served.status(keys, hello).await), (401, 200));
    // What was asked and counted before a reload still counts: the bucket is not asked again, and guesses are not new.
    let asked = || s3.seen("GetObject").iter().filter(|seen| seen.path.contains("_login/")).count();
    let before = asked();
    for password in 0..12 {
        served.guess(password).await;
    }
    assert_eq!(served.guess(12).await, 429);
    let guessed = asked();
    assert!(guessed > before);
    Command::new("kill").args(["-HUP", &served.process.pid().to_string()]).status().unwrap();
    served.process.until(SWAPPED);
    assert_eq!((served.status(keys, hello).await, served.guess(13).await), (200, 429));
    assert_eq!(asked(), guessed);
    let error = served.change("auth: {bucketkeys: true}", "\"level\":\"ERROR\"");
    assert!(error.contains("auth.bucketkeys (in ") && error.contains("need storage.s3"), "{error}");
    assert_eq!(served.status(keys, hello).await, 200);
    served.change(&of(&format!("{{htpasswd: {{users: '{alice}'}}}}")), SWAPPED);
    assert_eq!((served.status(Some("alice"), hello).await, served.status(keys, hello).await), (200, 401));
}
