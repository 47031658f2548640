//! Scalars of another type where a text, a number or a boolean belongs, as distribution reads them (gopkg.in/yaml.v2),
//! in a file and in variables.

use pounce::config::{Compose, Config, LogLevel, Secret};

use crate::mistakes::load;

/// The same setting in a file and as a variable.
fn both(path: &str, value: &str) -> [Config; 2] {
    let keys: Vec<&str> = path.split('.').collect();
    let opening = keys.join(": {");
    let file = format!("{opening}: {value}{}", "}".repeat(keys.len() - 1));
    let variable = format!("REGISTRY_{}", keys.join("_").to_uppercase());
    // The driver is fixed, because some of the settings name a bucket.
    let driver = ("REGISTRY_STORAGE", "filesystem");
    let config = |file: &str, variables: &[(&str, &str)]| match load(file, &[variables, &[driver]].concat()) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{path}: {value}: {error}"),
    };
    [config(&file, &[]), config("", &[(&variable, value)])]
}

#[test]
fn booleans_have_any_spelling() {
    for (values, expected) in [
        ("true True TRUE yes Yes on ON y Y t 1 'true' \"yes\" \"1\"", true),
        ("false False FALSE no No off OFF n N f 0 'false' \"no\" \"0\"", false),
    ] {
        for value in values.split(' ') {
            for config in both("storage.redirect.disable", value) {
                assert_eq!(config.storage.redirect.disable, expected, "{value}");
            }
            for config in both("storage.s3.tigris", value) {
                assert_eq!(config.storage.s3.tigris, Some(expected), "{value}");
            }
            for config in both("storage.delete.enabled", value) {
                assert_eq!(config.storage.delete.enabled, expected, "{value}");
            }
        }
    }
}

#[test]
fn numbers_have_any_spelling() {
    let values = "5242880 \"5242880\" '5242880' 0x500000 \"0x500000\" 5_242_880 5242880.0 5.24288e6 5.24288e+6 \
                  024000000 0o24000000 +5242880";
    for value in values.split_whitespace() {
        for config in both("storage.s3.chunksize", value) {
            assert_eq!(config.storage.s3.chunksize, 5_242_880, "{value}");
        }
        for config in both("proxy.fill.sharedsize", value) {
            assert_eq!(config.proxy.fill.sharedsize.bytes(), Some(5_242_880), "{value}");
        }
        for config in both("proxy.spool.maxsize", value) {
            assert_eq!(config.proxy.spool.maxsize, Some(5_242_880), "{value}");
        }
    }
}

#[test]
fn texts_stay_as_they_are_written() {
    let values = "true off 0x10 010 0123 1_000 1e6 1.10 2026-01-01 12:30:45 18446744073709551616 .inf -5 '~' 'null'";
    for value in values.split(' ') {
        let text = value.trim_matches('\'');
        for config in both("http.secret", value) {
            assert_eq!(config.http.secret.as_ref().map(Secret::reveal), Some(text));
        }
        for config in both("storage.s3.rootdirectory", value) {
            assert_eq!(config.storage.s3.rootdirectory, text);
        }
        for config in both("auth.htpasswd.users", value) {
            let users = config.auth.htpasswd.users.as_ref();
            assert_eq!(users.map(Secret::reveal), Some(text));
        }
        for config in both("http.headers", &format!("{{A: [{value}, b], B: {value}}}")) {
            let headers = &config.http.headers;
            assert_eq!(
                (&headers["A"][..], &headers["B"][..]),
                (&[text.to_owned(), "b".into()][..], &[text.to_owned()][..])
            );
        }
        for config in both("http.tls", &format!("{{certificate: c, key: {value}, clientcas: [{value}]}}")) {
            let tls = &config.http.tls;
            let path = Some(std::path::PathBuf::from(text));
            assert_eq!((&tls.key, &tls.clientcas[..]), (&path, &path.clone().into_iter().collect::<Vec<_>>()[..]));
        }
    }
    for text in ["#hash", "a #b", "[a", "{", "*x", "&y", "%z", "@", "- a", "a: b", " "] {
        let config = load("http: {secret: other}", &[("REGISTRY_HTTP_SECRET", text)]).unwrap().config;
        assert_eq!(config.http.secret.unwrap().reveal(), text);
    }
    let file = "proxy: {remoteurl: 'https://a.example.com', username: 007, password: 6427782}";
    let proxy = load(file, &[]).unwrap().config.proxy;
    assert_eq!(proxy.username.as_deref(), Some("007"));
    assert_eq!(proxy.password.unwrap().reveal(), "6427782");
    assert_eq!(load("log: {level: INFO}", &[]).unwrap().config.log.level, LogLevel::Info);
}

#[test]
fn headers_are_those_of_a_registry_ui() {
    let file = "http: {headers: {Access-Control-Allow-Credentials: [true], Access-Control-Max-Age: [1728000]}}";
    let variables = [
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Credentials", "[true]"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Max-Age_0", "1728000"),
    ];
    for config in [load(file, &[]), load("", &variables)] {
        let headers = config.unwrap().config.http.headers;
        let values: Vec<_> = headers.values().flatten().map(String::as_str).collect();
        assert_eq!(values, ["true", "1728000"]);
    }
}

#[test]
fn a_single_value_is_a_list_of_one() {
    for value in ["10.0.0.0/8", "[10.0.0.0/8]", "'10.0.0.0/8'"] {
        for config in both("http.trustedproxies", value) {
            assert_eq!(config.http.trustedproxies, ["10.0.0.0/8".parse().unwrap()]);
        }
    }
    let variables = [("REGISTRY_HTTP_TRUSTEDPROXIES_1", "fd00::/8")];
    let config = load("http: {trustedproxies: 10.0.0.0/8}", &variables).unwrap().config;
    assert_eq!(config.http.trustedproxies.len(), 2);
    let file = "auth: {htpasswd: {path: /x}, rules: [{users: 123, actions: pull}]}";
    let config = load(file, &[]).unwrap().config;
    assert_eq!(config.auth.rules[0].users[0].as_str(), "123");
}

/// Values that distribution reads as nothing, or as an empty text.
#[test]
fn what_says_nothing_is_the_default() {
    let file = "
http: {host: '', headers: ~, prefix: ~, draintimeout: ~, relativeurls: ~, tls: {certificate: '', key: '', clientcas: ''}, secret: ''}
storage: {s3: {accesskey: '', secretkey: '', chunksize: ~, secure: ~, regionendpoint: ''}, filesystem: {rootdirectory: ~}}
proxy: {remoteurl: '', username: '', password: '', tagttl: null}
log: {accesslog: {disabled: ~}, level: ~}
";
    let shown = |config: &Config| serde_json::to_value(config).unwrap();
    let config = load(file, &[("REGISTRY_STORAGE", "filesystem")]).unwrap().config;
    assert_eq!(shown(&config), shown(&Config::default()));
    for value in ["~", "null"] {
        let variables = [("REGISTRY_HTTP_SECRET", value), ("REGISTRY_LOG_LEVEL", value)];
        let config = load("http: {secret: x}", &variables).unwrap().config;
        assert_eq!(shown(&config), shown(&Config::default()));
        // A missing value must not open a registry that its operator meant to close.
        let error = load("", &[("REGISTRY_AUTH_HTPASSWD_PATH", value)]).unwrap_err();
        assert!(error.to_string().starts_with("REGISTRY_AUTH_HTPASSWD_PATH"), "{error}");
    }
}

/// Go's durations. Go reads a bare number as nanoseconds, which hardly any operator means.
#[test]
fn durations_are_those_of_go() {
    for (value, milliseconds) in
        [("1.5h", 5_400_000), ("1m0.5s", 60_500), ("'0'", 0), ("0", 0), ("60000000000", 60_000)]
    {
        for config in both("http.draintimeout", value) {
            assert_eq!(config.http.draintimeout.as_millis(), milliseconds, "{value}");
        }
    }
    let loaded = load("http: {draintimeout: 60}\nproxy: {tagttl: 5m}", &[]).unwrap();
    assert_eq!(loaded.config.http.draintimeout.as_nanos(), 60);
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    assert!(loaded.notices[0].starts_with("http.draintimeout:"), "{:?}", loaded.notices);
}

#[test]
fn an_error_names_the_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("registry.yml");
    std::fs::write(&path, "storage: {s3: {encrypt: perhaps}}").unwrap();
    let error = Config::load(Some(&path), &pounce::config::Environment::default()).unwrap_err();
    let expected = format!("storage.s3.encrypt (in {}): ", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn an_empty_scalar_is_the_default() {
    for file in [
        "storage: {delete: {enabled: ''}}",
        "storage: {s3: {chunksize: ''}, delete: {enabled: \"\"}}",
        "proxy: {spool: {maxsize: ''}}",
    ] {
        let config = load(file, &[("REGISTRY_STORAGE", "filesystem")]).unwrap().config;
        assert!(config.storage.delete.enabled);
        assert_eq!(config.storage.s3.chunksize, 10 << 20);
        assert!(config.proxy.spool.maxsize.is_none());
    }
}

#[test]
fn several_documents_and_repeated_keys_are_read() {
    let file = "log: {level: warn}\nhttp: {secret: SECRET1, secret: SECRET2}\n---\nlog: [";
    let loaded = load(file, &[]).unwrap();
    assert_eq!(loaded.config.log.level, LogLevel::Warn);
    assert_eq!(loaded.config.http.secret.as_ref().map(Secret::reveal), Some("SECRET2"));
    assert_eq!(loaded.notices, ["http.secret is there more than once: the last one counts"]);
}

#[test]
fn thresholds_of_copies_begin_at_nothing() {
    for (value, expected) in [("0", 0), ("1", 1), ("5368709120", 5 << 30)] {
        for config in both("storage.s3.multipartcopythresholdsize", value) {
            assert_eq!(config.storage.s3.multipartcopythresholdsize, expected);
        }
    }
    let variable = ("REGISTRY_STORAGE_S3_MULTIPARTCOPYTHRESHOLDSIZE", "5368709121");
    load("", &[variable]).unwrap_err();
}

#[test]
fn headers_that_are_no_mapping_are_not_repeated() {
    for (file, variables) in [
        ("", &[("REGISTRY_HTTP_HEADERS", "SECRETPW")][..]),
        ("", &[("REGISTRY_HTTP", "{headers: SECRETPW}")]),
        ("http: {headers: [SECRETPW]}", &[]),
    ] {
        let error = load(file, variables).unwrap_err().to_string();
        assert!(error.starts_with("http.headers") && !error.contains("SECRETPW"), "{error}");
    }
}

#[test]
fn fills_are_shared_from_a_size_on_or_never() {
    let config = load("", &[]).unwrap().config;
    assert_eq!(config.proxy.fill.sharedsize.bytes(), Some(64 << 20));
    for value in ["never", "Never", "' NEVER '"] {
        for config in both("proxy.fill.sharedsize", value) {
            assert_eq!(config.proxy.fill.sharedsize.bytes(), None, "{value}");
        }
    }
    for (value, expected) in [("0", 0), ("18446744073709551615", u64::MAX)] {
        for config in both("proxy.fill.sharedsize", value) {
            assert_eq!(config.proxy.fill.sharedsize.bytes(), Some(expected));
        }
    }
    for config in both("proxy.fill.memory", "0x4000000") {
        assert_eq!(config.proxy.fill.memory, Some(64 << 20));
    }
    for config in both("proxy.fill.compose", "Send") {
        assert_eq!(config.proxy.fill.compose, Compose::Send);
    }
}

#[test]
fn the_size_of_the_spool_has_no_effect() {
    let loaded = load("proxy: {spool: {maxsize: 5e9}}", &[]).unwrap();
    let [notice] = &loaded.notices[..] else {
        panic!("{:?}", loaded.notices);
    };
    assert!(notice.starts_with("proxy.spool.maxsize has no effect"), "{notice}");
}
