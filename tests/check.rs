//! `pounce check` and `pounce htpasswd`: their output, and their exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::upstream::Manners;
use crate::support::{Auth, Pounce, Upstream, borrowed};

pub async fn run(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> (i32, String, String) {
    let mut command = Command::new(crate::support::program());
    command.args(arguments).env_clear();
    command.envs(variables.iter().copied());
    let input = input.to_owned();
    let running = move || -> Output {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(running).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Variables for a `check` whose S3 is a pounce's folder.
fn as_s3(pounce: &Pounce) -> Vec<(&'static str, String)> {
    let mut variables = pounce.as_s3();
    variables.push(("REGISTRY_HTTP_SECRET", "battery staple".to_owned()));
    variables
}

pub async fn check(variables: &[(&'static str, String)]) -> (i32, String) {
    let variables = borrowed(variables);
    let (status, said, errors) = run(&["check"], &variables, "").await;
    assert_eq!(errors, "");
    (status, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_an_upstream_that_work() {
    let (upstream, store) = (Upstream::start().await, Pounce::with(&[]).await);
    upstream.behave(Manners { auth: Auth::Bearer, ..Manners::default() });
    let mut variables = as_s3(&store);
    variables.extend([
        ("REGISTRY_PROXY_REMOTEURL", upstream.url()),
        ("REGISTRY_PROXY_USERNAME", "user".to_owned()),
        ("REGISTRY_PROXY_PASSWORD", "secret".to_owned()),
    ]);
    let (status, said) = check(&variables).await;
    assert_eq!(status, 0, "{said}");
    for line in [
        "✓ bucket",
        "✓ write",
        "✓ read",
        "✓ presigned GET",
        "✓ presigned Range",
        "✓ clock",
        "✓ multipart",
        "✓ copy",
        "✓ conditional delete: an object stays",
        "✓ delete",
        "✓ http://127.0.0.1",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains('✗'), "{said}");
    // Every value with its source, and no secret.
    let told = |setting: &str| {
        let line = said.lines().find(|line| line.starts_with(setting)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(told("storage.s3.bucket:"), "REGISTRY_STORAGE_S3_BUCKET");
    assert_eq!(told("storage.s3.chunksize:"), "default");
    let secrets = as_s3(&store);
    let secret = &secrets.iter().find(|(name, _)| name.ends_with("SECRETKEY")).unwrap().1;
    assert!(!said.contains(secret) && !said.contains("battery staple"), "{said}");
    // `check` leaves nothing in the bucket.
    assert!(store.objects().is_empty() && store.open_uploads() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_is_said_with_what_to_change() {
    let (upstream, store) = (Upstream::start().await, Pounce::with(&[]).await);
    let with = |name: &'static str, value: &str| {
        let mut variables = as_s3(&store);
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value.to_owned()));
        variables
    };
    let cases = [
        (with("REGISTRY_STORAGE_S3_SECRETKEY", "wrong"), "✗ bucket", "storage.s3.accesskey"),
        (with("REGISTRY_STORAGE_S3_BUCKET", "another"), "✗ bucket", "storage.s3.bucket"),
        (with("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://127.0.0.1:9"), "✗ bucket", "storage.s3.regionendpoint"),
        (
            with("REGISTRY_STORAGE_S3_REDIRECTENDPOINT", "http://127.0.0.1:9"),
            "✗ presigned GET",
            "storage.redirect.exclude",
        ),
        (with("REGISTRY_PROXY_REMOTEURL", "http://127.0.0.1:9"), "✗ http://127.0.0.1:9", "remoteurl"),
        (with("REGISTRY_HTTP_TLS_CERTIFICATE", "/nowhere"), "", "http.tls.certificate"),
        (with("REGISTRY_AUTH_HTPASSWD_USERS", "nobody"), "✗ auth", "auth.htpasswd.users"),
        (with("REGISTRY_LOG_ACCESSLOG_FILE", "/nowhere/x"), "✗ log.accesslog.file", "a folder that pounce may write"),
    ];
    for (variables, line, advice) in cases {
        let told = borrowed(&variables);
        let (status, said, errors) = run(&["check"], &told, "").await;
        assert_eq!(status, 1, "{said}");
        let lines = format!("{said}{errors}");
        let found = lines.lines().find(|it| it.contains('✗') || it.starts_with("pounce:"));
        let found = found.unwrap_or_else(|| panic!("{lines}"));
        assert!(found.starts_with(line) || line.is_empty(), "{found}");
        assert!(found.contains(advice), "{found}");
    }
    upstream.behave(Manners { auth: Auth::Basic, ..Manners::default() });
    let (status, said) = check(&with("REGISTRY_PROXY_REMOTEURL", &upstream.url())).await;
    assert!(status == 1 && said.contains("it wants credentials"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_told_apart_from_variables() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("registry.yml");
    let text = "log: {level: warn}\nproxy: {tagttl: 5m}\nstorage: {filesystem: {rootdirectory: FOLDER}}";
    let data = folder.path().join("data");
    std::fs::write(&file, text.replace("FOLDER", data.to_str().unwrap())).unwrap();
    let log = folder.path().join("access.log");
    let variables = [
        ("REGISTRY_PROXY_TAGTTL", "1m"),
        ("REGISTRY_REDIS_ADDR", "x"),
        ("REGISTRY_LOG_ACCESSLOG_FORMAT", "combined"),
        ("REGISTRY_LOG_ACCESSLOG_FILE", log.to_str().unwrap()),
    ];
    let (status, said, _) = run(&["check", file.to_str().unwrap()], &variables, "").await;
    assert_eq!(status, 0, "{said}");
    let told = |setting: &str| {
        let line = said.lines().find(|line| line.starts_with(setting)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told("log.level:"), "warn file");
    assert_eq!(told("proxy.tagttl:"), "1m REGISTRY_PROXY_TAGTTL");
    assert_eq!(told("http.addr:"), ":5000 default");
    assert_eq!(told("log.accesslog.format:"), "combined REGISTRY_LOG_ACCESSLOG_FORMAT");
    assert!(said.contains("✓ log.accesslog.file: can be written") && !log.exists(), "{said}");
    assert!(said.contains("! REGISTRY_REDIS_ADDR is ignored"), "{said}");
    let open = "✓ auth: there is none: every client may pull, push and delete";
    assert!(said.contains(open), "{said}");
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_needs_nothing_but_the_program() {
    let alive = |variables: Vec<(&'static str, String)>| async move {
        let variables = crate::support::borrowed(&variables);
        let (status, said, wrong) = run(&["check", "--alive"], &variables, "").await;
        assert_eq!(said, "");
        (status, wrong)
    };
    let pounce = Pounce::with(&[("REGISTRY_HTTP_PREFIX", "/registry")]).await;
    let at = |addr: &str| vec![("REGISTRY_HTTP_ADDR", addr.to_owned())];
    assert_eq!(alive(at(&pounce.addr.to_string())).await, (0, String::new()));
    // Without a host, `check` asks this machine.
    let port = format!(":{}", pounce.addr.port());
    assert_eq!(alive(at(&port)).await.0, 0);
    let (status, why) = alive(at("127.0.0.1:1")).await;
    assert!(status == 1 && why.contains("127.0.0.1:1"), "{why}");
    // The server at this address speaks no TLS.
    let mut encrypted = at(&pounce.addr.to_string());
    encrypted.push(("REGISTRY_HTTP_TLS_CERTIFICATE", "/x".to_owned()));
    encrypted.push(("REGISTRY_HTTP_TLS_KEY", "/x".to_owned()));
    assert_eq!(alive(encrypted).await.0, 1);
}
