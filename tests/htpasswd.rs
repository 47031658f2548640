//! `pounce htpasswd`: lines for a variable, and users in a file.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::check::run;
use crate::support::users::{ask, until, user, with_users};
use crate::support::{Pounce, Process};

#[tokio::test]
async fn htpasswd_prints_a_line_that_lets_in() {
    let (status, line, _) = run(&["htpasswd", "alice", "-c", "4"], &[], "s3cret\n").await;
    assert_eq!(status, 0);
    assert!(line.starts_with("alice:$2b$04$") && line.ends_with('\n'), "{line}");
    let (status, made, said) = run(&["htpasswd", "bob", "-c", "4", "--generate"], &[], "").await;
    assert_eq!(status, 0);
    let password = said.trim().strip_prefix("password of bob: ").unwrap();
    assert!(password.len() >= 32, "{said}");
    let users = format!("{line}{made}");
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &users)]).await;
    for (user, password, status) in
        [("alice", "s3cret", 200), ("alice", "s3cret\n", 401), ("bob", password, 200), ("bob", "s3cret", 401)]
    {
        let request = pounce.request("GET", "/v2/").basic_auth(user, Some(password));
        assert_eq!(pounce.send(request).await.status, status, "{user}");
    }
    let long = "a".repeat(73);
    for (user, input) in [
        ("a:b", "x"),
        ("a,b", "x"),
        ("a b", "x"),
        ("anonymous", "x"),
        ("#a", "x"),
        ("", "x"),
        ("alice", ""),
        ("alice", "\n"),
        ("alice", &long),
        ("alice", "a\0b"),
    ] {
        let (status, line, said) = run(&["htpasswd", user, "-c", "4"], &[], input).await;
        assert_eq!((status, line.as_str()), (1, ""), "{user} {input:?}");
        assert!(said.starts_with("pounce: "), "{said}");
    }
    let (status, _, _) = run(&["htpasswd", "alice", "-c", "31"], &[], "x").await;
    assert_eq!(status, 2);
}

#[tokio::test]
async fn a_user_in_a_file_is_added_changed_and_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    let change = async |arguments: &[&str], input: &str| {
        let arguments: Vec<_> = ["htpasswd", "--file", file].into_iter().chain(arguments.iter().copied()).collect();
        run(&arguments, &[], input).await
    };
    let (status, said, _) = change(&["alice", "--stdin", "-c", "4"], "alice's\nno password\n").await;
    assert!(status == 0 && said.starts_with("added alice to ") && said.contains("\nnext: "), "{said}");
    assert!(said.contains("REGISTRY_AUTH_HTPASSWD_PATH") && said.contains(file), "{said}");
    assert_eq!(mode(), 0o640);
    // A running server reads it anew.
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_PATH", file)]).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
    let text = format!("# ours\r\n{}\r\nold:$apr1$x$y", std::fs::read_to_string(&path).unwrap().trim());
    std::fs::write(&path, &text).unwrap();
    let (status, said, _) = change(&["bob", "-c", "4"], "bob's").await;
    assert!(status == 0 && said.starts_with("added bob to "), "{said}");
    until(&pounce, "bob", 200).await;
    let (status, said, _) = change(&["alice", "-c", "4"], "another").await;
    assert!(status == 0 && said.starts_with("changed the password of alice in "), "{said}");
    until(&pounce, "alice", 401).await;
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.starts_with("# ours\r\nalice:$2b$04$") && now.contains("\r\nold:$apr1$x$y\r\nbob:$2b$04$"), "{now}");
    assert!(!now.ends_with('\n') && mode() == 0o604, "{now}");
    let (status, said, _) = change(&["--delete", "bob"], "").await;
    assert!(status == 0 && said.starts_with("removed bob from ") && !said.contains("no client"), "{said}");
    assert_eq!(change(&["--delete", "bob"], "").await.0, 1);
    for user in ["alice", "old"] {
        let (status, said, _) = change(&["--delete", user], "").await;
        assert_eq!((status, said.contains("no client can log in")), (0, user == "old"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# ours\r\n");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["users"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_changed_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("users"), "a:1\n").unwrap();
    std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    std::os::unix::fs::symlink(path("users"), path("link")).unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["--file", &path("users"), "anonymous"], "anonymous"),
        (&["--file", &path("users"), "a:b"], "colons"),
        (&["--file", &path("users"), &"a".repeat(256)], "255 bytes"),
        (&["--file", &path("users"), "--delete", "b"], "there is no user b in it"),
        (&["--file", &path("none"), "--delete", "b"], "none: "),
        (&["--file", &path("binary"), "b", "-c", "4"], "binary: "),
    ];
    for (arguments, words) in cases {
        let arguments: Vec<_> = ["htpasswd"].into_iter().chain(arguments.iter().copied()).collect();
        let (status, said, errors) = run(&arguments, &[], "x").await;
        assert_eq!((status, said.as_str()), (1, ""), "{errors}");
        assert!(errors.starts_with("pounce: ") && errors.contains(words), "{errors}");
    }
    assert_eq!(std::fs::read_to_string(path("users")).unwrap(), "a:1\n");
    for wrong in [&["htpasswd", "--delete", "b"][..], &["htpasswd", "--stdin", "--generate", "b"]] {
        assert_eq!(run(wrong, &[], "").await.0, 2);
    }
    // The target of a link is changed, and the link stays.
    assert_eq!(run(&["htpasswd", "--file", &path("link"), "b", "-c", "4"], &[], "x").await.0, 0);
    assert!(std::fs::read_to_string(path("users")).unwrap().starts_with("a:1\nb:$2b$04$"));
    assert!(std::fs::symlink_metadata(path("link")).unwrap().is_symlink());
}

#[tokio::test]
async fn changes_at_once_lose_no_user() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    let users: Vec<String> = (0..8).map(|number| format!("user-{number}")).collect();
    let changes = users.iter().map(async |user| {
        assert_eq!(run(&["htpasswd", "--file", file, user, "-c", "4"], &[], "x").await.0, 0);
    });
    futures_util::future::join_all(changes).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), users.len());
    assert!(users.iter().all(|user| text.contains(&format!("{user}:"))), "{text}");
}

#[tokio::test]
async fn further_users_are_in_variables_of_their_own() {
    let pounce = with_users(&["alice"]).await;
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 401);
    let (alice, bob, carol) = (user("alice"), format!("'{}'", user("bob")), user("carol"));
    let further = [("REGISTRY_AUTH_HTPASSWD_USERS_BOB", bob.as_str()), ("REGISTRY_AUTH_HTPASSWD_USERS_2", &carol)];
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", alice.as_str()), further[0], further[1]]).await;
    for user in ["alice", "bob", "carol"] {
        assert_eq!(ask(&pounce, user, "GET", "/v2/").await.status, 200, "{user}");
    }
    // They choose htpasswd, too.
    let pounce = Pounce::with(&further).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 401);
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 200);
}

#[tokio::test]
async fn a_server_whose_users_cannot_log_in_does_not_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    // The $ were eaten; or there are only comments.
    let eaten = user("admin").replace('$', "");
    std::fs::write(&path, user("alice")).unwrap();
    let cases: [&[(&str, &str)]; 4] = [
        &[("REGISTRY_AUTH_HTPASSWD_USERS", &eaten)],
        &[("REGISTRY_AUTH_HTPASSWD_USERS", "# nobody")],
        &[("REGISTRY_AUTH_HTPASSWD_USERS_CI", "ci:$apr1$x$y")],
        &[("REGISTRY_AUTH_HTPASSWD_USERS", &eaten), ("REGISTRY_AUTH_HTPASSWD_PATH", file)],
    ];
    for variables in cases {
        let output = crate::support::process::command(folder.path()).envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(last.contains("\"message\":\"auth.htpasswd.users: no line of it has a bcrypt hash"), "{text}");
        assert!(!text.contains("10") || !last.contains(&eaten[6..]), "{text}");
    }
    // A file is read again when it changes, so that pounce starts closed, and says so.
    std::fs::write(&path, "old:$apr1$x$y\n").unwrap();
    let process = Process::start(&[("REGISTRY_AUTH_HTPASSWD_PATH", file)]);
    assert!(process.seen.contains("no client can log in until"), "{}", process.seen);
    let status = reqwest::get(process.url("/v2/")).await.unwrap().status();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn what_is_no_file_with_users_is_told() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (pipe, link) = (at("pipe"), at("link"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for (file, sentence) in [
        (pipe.as_str(), "pipe: it is no file with users"),
        ("/dev/zero", "/dev/zero: it is no file with users"),
        (&link, "link: it is a symbolic link that leads nowhere"),
    ] {
        let (status, _, said) = run(&["htpasswd", "-c", "4", "--file", file, "alice"], &[], "secret").await;
        assert!(status == 1 && said.contains(sentence), "{said}");
    }
    let mut child = std::process::Command::new(crate::support::program());
    child.args(["htpasswd", "alice"]).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\xff\xfe\n").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(said, "pounce: the password on standard input is not UTF-8\n");
}
