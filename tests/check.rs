//! `pounce check`: its output, and its exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::upstream::Manners;
use crate::support::users::user;
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
    // How fast the bucket copies is not for a test to say.
    let is_measured = said.contains("warning compose: ");
    assert_eq!(status, i32::from(is_measured), "{said}");
    let mut from = 0;
    for line in [
        "ok configuration: ",
        "ok auth: ",
        "ok bucket: pounce at http://127.0.0.1:",
        "ok write: ",
        "ok read: ",
        "ok presigned GET: ",
        "ok presigned Range: ",
        "ok clock: ",
        "ok multipart: ",
        "ok copy: ",
        "ok conditional delete: an object stays",
        "ok delete: ",
        "ok http://127.0.0.1",
        "0 failed, ",
        "\nSet by the environment:\n",
        "other settings have their defaults; --all lists them",
    ] {
        let found = said[from..].find(line);
        from += found.unwrap_or_else(|| panic!("{line} is missing, or not in this order: {said}"));
    }
    assert!(!said.contains("failed "), "{said}");
    // What is not default with its source, and no secret.
    assert!(said.contains("\n  storage.s3.bucket: pounce (REGISTRY_STORAGE_S3_BUCKET)\n"), "{said}");
    assert!(said.contains("\n  http.secret: *** (REGISTRY_HTTP_SECRET)\n") && !said.contains("chunksize"), "{said}");
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
        (with("REGISTRY_STORAGE_S3_SECRETKEY", "wrong"), "failed bucket", "storage.s3.accesskey"),
        (with("REGISTRY_STORAGE_S3_BUCKET", "another"), "failed bucket", "storage.s3.bucket"),
        (
            with("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://127.0.0.1:9"),
            "failed bucket",
            "storage.s3.regionendpoint",
        ),
        (
            with("REGISTRY_STORAGE_S3_REDIRECTENDPOINT", "http://127.0.0.1:9"),
            "failed presigned GET",
            "storage.redirect.exclude",
        ),
        (with("REGISTRY_PROXY_REMOTEURL", "http://127.0.0.1:9"), "failed http://127.0.0.1:9", "remoteurl"),
        (with("REGISTRY_HTTP_TLS_CERTIFICATE", "/nowhere"), "failed configuration", "http.tls.certificate"),
        (with("REGISTRY_AUTH_HTPASSWD_USERS", "nobody"), "failed auth", "auth.htpasswd.users"),
        (
            with("REGISTRY_LOG_ACCESSLOG_FILE", "/nowhere/x"),
            "failed log.accesslog.file",
            "a folder that pounce may write",
        ),
    ];
    for (variables, line, advice) in cases {
        let told = borrowed(&variables);
        let (status, said, errors) = run(&["check"], &told, "").await;
        assert_eq!((status, errors.as_str()), (2, ""), "{said}");
        let found = said.lines().find(|it| it.starts_with("failed "));
        let found = found.unwrap_or_else(|| panic!("{said}"));
        assert!(found.starts_with(line) && found.contains(". Next: "), "{found}");
        assert!(found.contains(advice), "{found}");
    }
    upstream.behave(Manners { auth: Auth::Basic, ..Manners::default() });
    let (status, said) = check(&with("REGISTRY_PROXY_REMOTEURL", &upstream.url())).await;
    assert!(status == 2 && said.contains("it wants credentials"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_grouped_by_their_origins() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("registry.yml");
    let text = "log: {level: warn}\nproxy: {tagttl: 5m}\nstorage: {filesystem: {rootdirectory: FOLDER}, \
                redirect: {expiry: 3600s}, maintenance: {uploadpurging: {age: 90m30s}}}";
    let data = folder.path().join("data");
    std::fs::write(&file, text.replace("FOLDER", data.to_str().unwrap())).unwrap();
    let file = file.to_str().unwrap();
    let log = folder.path().join("access.log");
    let variables = [
        ("REGISTRY_PROXY_TAGTTL", "1m"),
        ("REGISTRY_AUTH_ANONYMOUS", "pull"),
        ("REGISTRY_LOG_ACCESSLOG_FORMAT", "combined"),
        ("REGISTRY_LOG_ACCESSLOG_FILE", log.to_str().unwrap()),
    ];
    let (status, said, _) = run(&["check", file], &variables, "").await;
    assert_eq!(status, 0, "{said}");
    let groups: Vec<&str> = said.split("\n\n").collect();
    let data = data.display();
    let ours = format!(
        "Set in {file}:\n  log.level: warn\n  storage.filesystem.rootdirectory: {data}\n  \
         storage.maintenance.uploadpurging.age: 1h30m30s\n  storage.redirect.expiry: 1h"
    );
    assert_eq!(groups[1], ours);
    assert!(said.contains("\nok log.accesslog.file: can be written\n") && !log.exists(), "{said}");
    let set = format!(
        "Set by the environment:\n  auth.anonymous: [\"pull\"] (REGISTRY_AUTH_ANONYMOUS)\n  \
         log.accesslog.file: {} (REGISTRY_LOG_ACCESSLOG_FILE)\n  \
         log.accesslog.format: combined (REGISTRY_LOG_ACCESSLOG_FORMAT)\n  \
         proxy.tagttl: 1m (REGISTRY_PROXY_TAGTTL)",
        log.display()
    );
    assert_eq!(groups[2], set);
    assert!(!said.contains("http.addr"), "{said}");
    let (_, all, _) = run(&["check", "--all", file], &variables, "").await;
    let defaults = all.split("\n\n").nth(3).unwrap();
    assert!(defaults.starts_with("Defaults:\n") && defaults.contains("\n  http.addr: :5000\n"), "{all}");
    assert!(defaults.contains("\n  storage.maintenance.uploadpurging.interval: 24h\n"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_no_failure_and_has_a_status_of_its_own() {
    let folder = TempDir::new().unwrap();
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.path().to_str().unwrap());
    let pull = ("REGISTRY_AUTH_ANONYMOUS", "pull");
    let mixed = format!("{},old:$apr1$x$y", user("admin"));
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("REGISTRY_REDIS_ADDR", "x"), pull], "configuration: REGISTRY_REDIS_ADDR is ignored"),
        (&[("REGISTRY_STORAGE_S3_BUKET", "x"), pull], "configuration: REGISTRY_STORAGE_S3_BUKET names no setting"),
        (&[], "auth: there is none: every client may pull, push and delete. Next: "),
        (&[("REGISTRY_AUTH_HTPASSWD_USERS", &mixed)], "auth: a hash is not bcrypt's"),
    ];
    for (variables, line) in cases {
        let variables: Vec<_> = variables.iter().copied().chain([root]).collect();
        let (status, said, _) = run(&["check"], &variables, "").await;
        assert_eq!(status, 1, "{said}");
        let warnings: Vec<_> = said.lines().filter(|it| it.starts_with("warning ")).collect();
        assert_eq!(warnings.len(), 1, "{said}");
        assert!(warnings[0].strip_prefix("warning ").unwrap().starts_with(line), "{said}");
        assert!(warnings[0].contains(". Next: ") && said.contains("\n0 failed, 1 warnings, "), "{said}");
    }
    // A folder has no replicas, and needs no secret.
    let (status, said, _) = run(&["check"], &[root, pull], "").await;
    assert!(status == 0 && !said.contains("http.secret"), "{said}");
    let store = Pounce::with(&[]).await;
    let mut variables = store.as_s3();
    variables.push(("REGISTRY_AUTH_ANONYMOUS", "pull".to_owned()));
    let (status, said) = check(&variables).await;
    assert!(status == 1 && said.contains("warning http.secret: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_keeps_nothing_else_from_being_tried() {
    let upstream = Upstream::start().await;
    let variables = [
        ("REGISTRY_STORAGE_S3_BUCKET", "b".to_owned()),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://127.0.0.1:9".to_owned()),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "a".to_owned()),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hunter2".to_owned()),
        ("REGISTRY_HTTP_SECRET", "hunter3".to_owned()),
        ("REGISTRY_HTTP_HEADERS", "{'a b': [c]}".to_owned()),
        ("REGISTRY_PROXY_REMOTEURL", "http://127.0.0.1:9".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "one.example.com".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", upstream.url()),
        ("REGISTRY_PROXY_UPSTREAMS_1_HOST", "two.example.com".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_1_REMOTEURL", "http://127.0.0.1:7".to_owned()),
    ];
    let variables = borrowed(&variables);
    let (status, said, errors) = run(&["check", "--json"], &variables, "").await;
    assert_eq!((status, errors.as_str()), (2, ""), "{said}");
    assert!(!said.contains("hunter"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let results: Vec<_> = json["results"].as_array().unwrap().iter().collect();
    let of = |key: &str| -> Vec<String> {
        results.iter().map(|result| result[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(of("status"), ["ok", "ok", "failure", "failure", "failure", "ok", "failure"], "{said}");
    let settings =
        ["", "", "http.headers", "storage.s3.regionendpoint", "proxy.remoteurl", "", "proxy.upstreams.1.remoteurl"];
    assert_eq!(of("setting"), settings, "{said}");
    assert!(results.iter().all(|it| it["status"] == "ok" || it["next"].as_str().is_some_and(|next| !next.is_empty())));
    let setting = |key: &str| {
        let all = json["settings"].as_array().unwrap();
        let found = all.iter().find(|setting| setting["key"] == key).unwrap();
        (found["value"].clone(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("storage.s3.secretkey"), ("***".into(), "REGISTRY_STORAGE_S3_SECRETKEY".to_owned()));
    assert_eq!(setting("storage.redirect.expiry"), ("20m".into(), "default".to_owned()));
    assert_eq!(setting("proxy.prefetch"), (true.into(), "default".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_listed_at_once() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("registry.yml");
    let text = "storage: {s3: {buckett: b, chunksize: 5, encrypt: perhaps}}\nproxy: {remoteurl: ghcr, tagttl: soon}\n\
                http: {prefix: v, tls: {certificate: /x}}";
    std::fs::write(&file, text).unwrap();
    let variables = [("REGISTRY_AUTH_HTPASWD_PATH", "/x"), ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "2")];
    let (status, said, _) = run(&["check", file.to_str().unwrap()], &variables, "").await;
    assert_eq!(status, 2);
    let mut named: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("failed configuration: "))
        .map(|line| line.split([' ', ':']).next().unwrap())
        .collect();
    named.sort_unstable();
    // What only follows from another mistake, as the bucket that is missing, is not listed.
    let expected = [
        "REGISTRY_AUTH_HTPASWD_PATH",
        "http.prefix",
        "http.tls.certificate",
        "proxy.remoteurl",
        "proxy.tagttl",
        "storage.s3.buckett",
        "storage.s3.chunksize",
        "storage.s3.encrypt",
        "storage.s3.forcepathstyle",
    ];
    assert_eq!(named, expected, "{said}");
    assert!(!said.contains("perhaps") && !said.contains("Set in"), "{said}");
    let (status, said, _) = run(&["check", "/nowhere.yml"], &[], "").await;
    assert!(status == 2 && said.starts_with("failed configuration: /nowhere.yml: "), "{said}");
    // `serve` still ends with one line, the first of them.
    let (status, _, errors) = run(&["serve", file.to_str().unwrap()], &[], "").await;
    assert!(status == 1 && errors.starts_with("pounce: ") && errors.lines().count() == 1, "{errors}");
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
