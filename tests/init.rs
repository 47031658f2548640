//! `pounce init`: from flags and from answers on a terminal, to files that work.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pounce::config::{Config, Driver, Environment, Scheme};
use tempfile::TempDir;

use crate::check::run;
use crate::support::users::until;
use crate::support::{Pounce, Upstream, borrowed};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The arguments of `init` with this output.
fn arguments<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["init", "--output", output].into_iter().chain(more.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_make_a_file_that_serves() {
    let (folder, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let (output, data) = (folder.path().join("registry.yml"), folder.path().join("it's data"));
    let (file, url) = (output.to_str().unwrap(), upstream.url());
    let flags =
        ["--folder", data.to_str().unwrap(), "--upstream", &url, "--user", "admin", "--password-stdin", "--public"];
    let (status, said, errors) = run(&arguments(file, &flags), &[], "admin's\n").await;
    assert_eq!((status, errors.as_str()), (0, ""), "{said}");
    assert!(said.contains("\nok bucket: ") && said.contains("0 failed, 0 warnings"), "{said}");
    assert!(said.ends_with(&format!("\nnext: pounce serve {file}\n")), "{said}");
    let users = folder.path().join("htpasswd");
    assert_eq!((mode(&output), mode(&users)), (0o600, 0o600));
    let text = std::fs::read_to_string(&output).unwrap();
    assert!((15..=25).contains(&text.lines().count()) && text.matches('#').count() > 4, "{text}");
    // The line for `pounce status` is one that works.
    let with_status = text.replace("  # debug: ", "  debug: ");
    let addr = Config::parse(&with_status, &Environment::default()).unwrap().config.http.debug.addr.unwrap();
    assert_eq!(addr.to_reach(), "127.0.0.1:5001");
    let config = Config::load(Some(&output), &Environment::default()).unwrap().config;
    assert_eq!(config.storage.filesystem.rootdirectory, data);
    assert_eq!(config.http.secret.unwrap().reveal().len(), 32);
    // The file is what a server needs: anonymous clients pull, and the user does everything.
    let rules = "[{users: [anonymous], actions: [pull]}, {users: ['?*'], actions: [pull, push, delete]}]";
    assert_eq!(serde_json::to_value(config.auth.rules).unwrap().as_array().unwrap().len(), 2);
    let variables = [("REGISTRY_AUTH_HTPASSWD_PATH", users.to_str().unwrap()), ("REGISTRY_AUTH_RULES", rules)];
    let pounce = Pounce::with(&variables).await;
    until(&pounce, "admin", 200).await;
    // Nothing is replaced without --force.
    let (status, _, errors) = run(&arguments(file, &flags), &[], "x\n").await;
    assert!(status == 1 && errors.contains("registry.yml is there already: --force"), "{errors}");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), text);
    std::fs::remove_file(&output).unwrap();
    let (status, _, errors) = run(&arguments(file, &flags), &[], "x\n").await;
    assert!(status == 1 && errors.contains("htpasswd is there already: --force"), "{errors}");
    let forced: Vec<_> = flags.into_iter().chain(["--force"]).collect();
    assert_eq!(run(&arguments(file, &forced), &[], "x\n").await.0, 0);
    assert_eq!(std::fs::read_to_string(&users).unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_mean_the_same_to_a_shell_and_to_docker() {
    let (folder, store) = (TempDir::new().unwrap(), Pounce::with(&[]).await);
    let s3: std::collections::BTreeMap<_, _> = store.as_s3().into_iter().collect();
    let output = folder.path().join(".env");
    let (access, secret) = (&s3["REGISTRY_STORAGE_S3_ACCESSKEY"], &s3["REGISTRY_STORAGE_S3_SECRETKEY"]);
    let keys = [("AWS_ACCESS_KEY_ID", access.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
    let endpoint = &s3["REGISTRY_STORAGE_S3_REGIONENDPOINT"];
    let flags = ["--bucket", "pounce", "--endpoint", endpoint, "--no-upstream", "--user", "ci", "--public", "--env"];
    let file = output.to_str().unwrap();
    let (status, said, errors) = run(&arguments(file, &flags), &keys, "").await;
    assert_eq!(status, 0, "{said}{errors}");
    assert!(errors.starts_with("password of ci: ") && errors.lines().count() == 1, "{errors}");
    let text = std::fs::read_to_string(&output).unwrap();
    // The keys stay in the environment.
    assert!(!text.contains(secret.as_str()) && !text.contains(access.as_str()), "{text}");
    assert_eq!((mode(&output), folder.path().join("htpasswd").exists()), (0o600, false));
    assert!(said.contains("(set -a; . ") && said.contains("pounce serve"), "{said}");
    // As `docker run --env-file` reads it, with its quotes.
    let raw: Environment =
        text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.starts_with('#')).collect();
    // As a shell does.
    let shell = Command::new("sh").env_clear().args(["-c", "set -a; . \"$0\"; env", file]).output().unwrap();
    let shell = String::from_utf8(shell.stdout).unwrap();
    let shell: Environment = shell.lines().filter_map(|line| line.split_once('=')).collect();
    for environment in [raw, shell] {
        let config = Config::load(None, &environment).unwrap().config;
        assert_eq!((config.storage.driver, config.auth.scheme), (Driver::S3, Scheme::Htpasswd));
        assert_eq!(config.storage.s3.bucket.as_deref(), Some("pounce"));
        assert!(config.storage.s3.forcepathstyle);
        assert_eq!(config.auth.rules.len(), 2);
        let users = config.auth.htpasswd.users.unwrap();
        assert!(users.reveal().starts_with("ci:$2b$10$") && users.reveal().len() == 63, "{}", users.reveal());
    }
    let copied: Vec<_> = flags.into_iter().chain(["--copy-keys", "--force"]).collect();
    assert_eq!(run(&arguments(file, &copied), &keys, "").await.0, 0);
    assert!(std::fs::read_to_string(&output).unwrap().contains(&format!("_SECRETKEY={secret}\n")));
    let (status, _, errors) = run(&arguments(file, &copied), &[], "").await;
    assert!(status == 1 && errors.contains("AWS_ACCESS_KEY_ID"), "{errors}");
}

#[tokio::test]
async fn what_cannot_be_asked_or_used_is_said_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("registry.yml");
    let file = output.to_str().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&[], "give --bucket NAME or --folder FOLDER; --upstream REGISTRY or --no-upstream; --user NAME, --public"),
        (&["--folder", "./data", "--public"], "give --upstream REGISTRY or --no-upstream"),
        (&["--bucket", "Images", "--no-upstream", "--public"], "storage.s3.bucket: the name of a bucket"),
        (&["--bucket", "b-1", "--endpoint", "minio", "--no-upstream", "--public"], "storage.s3.regionendpoint: "),
        (&["--folder", "d", "--upstream", "https://u:p@ghcr.io", "--public"], "must not contain credentials"),
        (&["--folder", "d", "--upstream", "ghcr.io", "--upstream", "ghcr.io", "--public"], "proxy."),
        (&["--folder", "d", "--upstream", "ghcr", "--public"], "a host has a dot or a port, as in ghcr.io"),
        (&["--folder", "d", "--no-upstream", "--user", "anonymous"], "the name of a user"),
        (&["--folder", "d'", "--no-upstream", "--public", "--env"], "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: "),
        (&["--folder", "d", "--upstream", "", "--public"], "proxy.remoteurl: is empty"),
        (&["--folder", "s3://images", "--no-upstream", "--public"], "the name of the bucket alone"),
        (&["--folder", "d", "--no-upstream", "--user", "a'b", "--password-stdin", "--env"], "_AUTH_HTPASSWD_USERS: "),
    ];
    for (flags, words) in cases {
        let (status, said, errors) = run(&arguments(file, flags), &[], "secret\n").await;
        assert_eq!((status, said.as_str()), (1, ""), "{flags:?}: {errors}");
        assert!(errors.starts_with("pounce: ") && errors.contains(words), "{flags:?}: {errors}");
        assert!(!errors.contains("u:p@") && !errors.contains("$2b$"), "{errors}");
    }
    let (status, _, errors) = run(&arguments("-", &["--folder", "d", "--no-upstream", "--public"]), &[], "").await;
    assert!(status == 1 && errors.contains("--output names a file") && !Path::new("-").exists(), "{errors}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_does_not_lose_the_file() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("registry.yml");
    let flags = ["--bucket", "b-1", "--endpoint", "http://127.0.0.1:9", "--upstream", "http://127.0.0.1:7", "--public"];
    let variables = [("AWS_ACCESS_KEY_ID", "a".to_owned()), ("AWS_SECRET_ACCESS_KEY", "b".to_owned())];
    let (status, said, _) = run(&arguments(output.to_str().unwrap(), &flags), &borrowed(&variables), "").await;
    assert_eq!(status, 2, "{said}");
    assert!(output.exists() && said.contains("failed bucket: ") && said.contains("pounce check "), "{said}");
}

/// A command on a terminal of its own, by util-linux's `script`.
struct Terminal {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(command: &str, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", command, "/dev/null"]).current_dir(folder).env_clear();
        script
            .envs(variables.iter().copied())
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut piece) {
                if sender.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, input, output, seen: String::new() }
    }

    /// Waits for a prompt behind what was seen before, and types a line.
    fn answer(&mut self, prompt: &str, line: &str) {
        self.until(prompt);
        // The program turns echo off behind the prompt for a password, and a person does not type at once.
        std::thread::sleep(Duration::from_millis(300));
        writeln!(self.input, "{line}").unwrap();
    }

    fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let piece = self.output.recv_timeout(Duration::from_mins(1));
            let piece = piece.unwrap_or_else(|_| panic!("{text} does not come: {}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_owned();
    }

    /// The exit status, and what was printed behind the last prompt.
    fn end(mut self) -> (i32, String) {
        while let Ok(piece) = self.output.recv_timeout(Duration::from_mins(1)) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        drop(self.input);
        (self.child.wait().unwrap().code().unwrap(), self.seen)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_checked_as_they_are_typed() {
    let (folder, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let command = format!("{} init", crate::support::program().display());
    let (url, path) = (upstream.url(), folder.path().to_owned());
    let talk = move || {
        let mut terminal = Terminal::start(&command, &path, &[]);
        terminal.answer("1. Where are blobs stored?", "My-Images");
        terminal.until("storage.s3.bucket: the name of a bucket has");
        terminal.answer("1. Where are blobs stored?", "./our data # 1");
        terminal.answer("2. What stands behind it?", "ghcr");
        terminal.until("a host has a dot or a port, as in ghcr.io");
        terminal.answer("2. What stands behind it?", &url);
        terminal.answer("3. Who may use it?", "anonymous");
        terminal.until("the name of a user");
        terminal.answer("3. Who may use it?", "$ädmin");
        terminal.answer("May every client pull", "perhaps");
        terminal.until("write yes or no");
        terminal.answer("May every client pull", "");
        terminal.answer("Password of $ädmin (empty: one is generated): ", "s3cret");
        terminal.answer("Again: ", "s3cret");
        terminal.end()
    };
    let (status, said) = tokio::task::spawn_blocking(talk).await.unwrap();
    assert_eq!(status, 0, "{said}");
    assert!(!said.contains("s3cret") && said.contains("✓ bucket: ") && said.contains("0 failed, "), "{said}");
    assert!(said.contains("next: pounce serve registry.yml"), "{said}");
    let loaded = Config::load(Some(&folder.path().join("registry.yml")), &Environment::default()).unwrap();
    assert_eq!(loaded.config.storage.filesystem.rootdirectory, Path::new("./our data # 1"));
    let users = loaded.config.auth.htpasswd.path.unwrap();
    let line = std::fs::read_to_string(&users).unwrap();
    assert!(line.starts_with("$ädmin:$2b$10$"), "{line}");
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_PATH", users.to_str().unwrap())]).await;
    let request = pounce.request("GET", "/v2/").basic_auth("$ädmin", Some("s3cret"));
    assert_eq!(pounce.send(request).await.status, 200);
}

/// A shell may leave the terminal as the program left it.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_what_is_typed_after_ctrl_c_at_a_password() {
    let folder = TempDir::new().unwrap();
    let program = crate::support::program().display().to_string();
    for command in ["htpasswd alice", "htpasswd --file users alice"] {
        let path = folder.path().to_owned();
        let command = format!("trap : INT; {program} {command}; echo \"status $?\"; stty -a");
        let talk = move || {
            let mut terminal = Terminal::start(&command, &path, &[]);
            terminal.answer("Password of alice: ", "s3cret");
            terminal.answer("Again: ", "\x03");
            terminal.end()
        };
        let (_, said) = tokio::task::spawn_blocking(talk).await.unwrap();
        assert!(said.contains("status 130") && said.contains(" echo ") && !said.contains("-echo "), "{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A closed terminal sends SIGHUP, which is otherwise a demand to read the configuration again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_with_its_terminal() {
    let folder = TempDir::new().unwrap();
    let (path, pid) = (folder.path().to_owned(), folder.path().join("pid"));
    let command = format!("echo $$ > pid; exec {} serve", crate::support::program().display());
    let talk = move || {
        let mut terminal = Terminal::start(&command, &path, &[("REGISTRY_HTTP_ADDR", "127.0.0.1:0")]);
        terminal.until(" listening ");
        terminal.child.kill().unwrap();
        terminal.child.wait().unwrap();
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    let process = format!("/proc/{}/cmdline", std::fs::read_to_string(pid).unwrap().trim());
    for _ in 0..1000 {
        // One that nothing waits for has no command line any more.
        if std::fs::read_to_string(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            return;
        }
    }
    panic!("it goes on without its terminal");
}
