//! Configuration mistakes, each reported in a sentence that names the setting; and, in the modules, those of
//! docs/troubleshooting.md, made on purpose with the real program.

mod clients;
mod document;
mod oidc;
mod start;
mod upstreams;

use pounce::config::{Config, ConfigError, Environment, Loaded};

pub fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::parse(yaml, &variables.iter().copied().collect::<Environment>())
}

fn refused(yaml: &str, variables: &[(&str, &str)]) -> String {
    match load(yaml, variables) {
        Ok(_) => panic!("{yaml} {variables:?}"),
        Err(error) => error.to_string(),
    }
}

/// A file, variables, and the setting that the error must name.
pub type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn an_unknown_key_in_the_file_names_itself_and_the_nearest() {
    let cases = [
        ("storage: {s3: {buckett: x}}", "storage.s3.buckett", "storage.s3.bucket?"),
        ("proxy: {remoteUrls: x}", "proxy.remoteUrls", "proxy.remoteurl?"),
        ("storge: {}", "storge", "storage?"),
    ];
    for (yaml, key, nearest) in cases {
        let message = refused(yaml, &[]);
        assert!(message.starts_with(key) && message.ends_with(nearest), "{message}");
    }
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest() {
    let notices = load(
        "",
        &[
            ("REGISTRY_STORAGE_S3_BUCKETT", "x"),
            ("REGISTRY_QQQ", "y"),
            // A variable of podman and similar tools.
            ("REGISTRY_AUTH_FILE", "/x"),
            ("OTHER", "z"),
        ],
    )
    .unwrap()
    .notices;
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(
        notices
            .iter()
            .any(|it| it.contains("REGISTRY_STORAGE_S3_BUCKETT") && it.ends_with("REGISTRY_STORAGE_S3_BUCKET?"))
    );
}

#[test]
fn wrong_values_name_their_setting() {
    let cases: &[Case] = &[
        ("storage: {s3: {region: auto}}", &[], "storage.s3.bucket"),
        ("storage: {s3: {bucket: b}}", &[], "storage.s3.region"),
        ("storage: {s3: {bucket: b, region: auto, accesskey: x}}", &[], "storage.s3.accesskey"),
        ("storage: {s3: {chunksize: 5}}", &[], "storage.s3.chunksize"),
        ("storage: {redirect: {expiry: 8d}}", &[], "storage.redirect.expiry"),
        ("storage: {redirect: {expiry: 90}}", &[], "storage.redirect.expiry"),
        ("proxy: {tagttl: 500000000000y}", &[], "proxy.tagttl"),
        ("storage: inmemory", &[], "storage"),
        ("HTTP: {addr: ':1'}", &[], "HTTP"),
        ("http: {addr: nowhere}", &[], "http.addr"),
        ("http: {prefix: v}", &[], "http.prefix"),
        ("proxy: {remoteurl: registry-1.docker.io}", &[], "proxy.remoteurl"),
        ("proxy: {remoteurl: 'https://user:secret@host'}", &[], "proxy.remoteurl"),
        ("proxy: {username: x}", &[], "proxy.username"),
        ("log: {level: loud}", &[], "log.level"),
        ("log: {accesslog: {format: apache}}", &[], "log.accesslog.format"),
        ("storage: {azure: {}}", &[], "storage.azure"),
        ("[1]", &[], "the configuration"),
        ("", &[("REGISTRY_STORAGE", "gcs")], "storage"),
        ("", &[("REGISTRY_STORAGE_S3_ENCRYPT", "perhaps")], "storage.s3.encrypt (in REGISTRY_STORAGE_S3_ENCRYPT)"),
        ("storage: {s3: {encrypt: perhaps}}", &[], "storage.s3.encrypt"),
        ("", &[("REGISTRY_STORAGE_S3_CHUNKSIZE", "10Mi")], "storage.s3.chunksize (in REGISTRY_STORAGE_S3_CHUNKSIZE)"),
        ("", &[("REGISTRY_STORAGE_S3", "{chunksize: 5}")], "storage.s3.chunksize (in REGISTRY_STORAGE_S3)"),
        ("catalog: {maxentries: 1.5}", &[], "catalog.maxentries"),
        ("http: {prefix: [/a]}", &[], "http.prefix"),
        ("http: {trustedproxies: {a: b}}", &[], "http.trustedproxies"),
        ("http: {trustedproxies: [~]}", &[], "http.trustedproxies"),
        ("http: {headers: {A: {b: c}}}", &[], "http.headers.A"),
        ("storage: {maintenance: {uploadpurging: {age: 168}}}", &[], "storage.maintenance.uploadpurging.age"),
        ("", &[("REGISTRY_PROXY_TAGTTL", "60")], "proxy.tagttl"),
        ("http: {draintimeout: -5s}", &[], "http.draintimeout"),
        ("log: {level: true}", &[], "log.level"),
    ];
    name_their_setting(cases);
}

/// Asserts that each error names its setting.
pub fn name_their_setting(cases: &[Case]) {
    for (yaml, variables, named) in cases {
        let message = refused(yaml, variables);
        assert!(message.starts_with(named), "{yaml} {variables:?}: {message}");
        assert!(!message.contains("secret@"), "{message}");
    }
    assert!(matches!(load("a: [", &[]), Err(ConfigError::Yaml { .. })));
}

#[test]
fn secrets_do_not_show_themselves_in_errors() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("proxy:\n  username: u\n  password: hunter2\n badly: indented", &[]),
        ("proxy:\n  username: u\n  password: @hunter2", &[]),
        ("proxy: {username: u, password: [hunter2]}", &[]),
        ("proxy: {username: u, password: {a: 6427782}}", &[]),
        ("auth: {htpasswd: {users: [hunter2]}}", &[]),
        ("http: {secret: [hunter2]}", &[]),
        ("storage: {s3: {secretkey: {hunter2: x}}}", &[]),
        ("storage: {s3: {chunksize: hunter2, encrypt: hunter2}}", &[]),
        ("", &[("REGISTRY_STORAGE_S3_ENCRYPT", "hunter2")]),
        ("", &[("REGISTRY_PROXY", "{username: u, password: hunter2")]),
    ];
    for (yaml, variables) in cases {
        let message = refused(yaml, variables);
        assert!(!message.contains("hunter2") && !message.contains("6427782"), "{message}");
        assert!(message.lines().count() == 1, "{message}");
    }
}
