//! pounce starts with distribution's settings, with disabled features, and with unrelated variables in the environment.

use pounce::config::{Driver, Scheme};

use crate::mistakes::load;

/// Every key of distribution's documentation (2.8 to 3.1), in sections that can be combined, with values that it
/// accepts.
const EVERY: &str = "
version: 0.1
log:
  accesslog: {disabled: true}
  level: debug
  formatter: logstash
  reportcaller: false
  fields: {service: registry, environment: staging, number: 7}
  hooks: [{type: mail, disabled: true, levels: [panic], options: {smtp: {addr: 'mail:25', insecure: true}}}]
loglevel: debug
storage:
  s3:
    accesskey: key
    secretkey: secret
    region: us-west-1
    regionendpoint: http://localhost:9000
    forcepathstyle: true
    accelerate: false
    bucket: bucketname
    encrypt: true
    keyid: mykeyid
    secure: true
    skipverify: false
    v4auth: true
    chunksize: 5242880
    multipartcopychunksize: 33554432
    multipartcopymaxconcurrency: 100
    multipartcopythresholdsize: 33554432
    rootdirectory: /s3/object/name/prefix
    storageclass: STANDARD
    objectacl: private
    useragent: me
    usedualstack: false
    usefipsendpoint: false
    loglevel: debug
  tag: {concurrencylimit: 8}
  delete: {enabled: false}
  redirect: {disable: false}
  cache: {blobdescriptor: redis, blobdescriptorsize: 10000, layerinfo: inmemory}
  maintenance:
    uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}
    readonly: {enabled: false}
auth:
  htpasswd: {realm: basic-realm, path: /path/to/htpasswd}
middleware:
  storage: [{name: cloudfront, options: {baseurl: 'https://example.com/', duration: 3000s}}]
catalog: {maxentries: 1000}
tags: {maxtags: 1000}
http:
  addr: localhost:5000
  net: tcp
  prefix: /my/nested/registry/
  host: https://registry.example.com:5000
  secret: asecretforlocaldevelopment
  relativeurls: false
  draintimeout: 60s
  tls:
    certificate: /path/to/x509/public
    key: /path/to/x509/private
    clientcas: [/path/to/ca.pem]
    clientauth: require-and-verify-client-cert
    minimumtls: tls1.2
    ciphersuites: [TLS_AES_128_GCM_SHA256]
    letsencrypt: {cachefile: '', email: '', hosts: [], directoryurl: ''}
  debug: {addr: 'localhost:5001', prometheus: {enabled: true, path: /metrics}}
  headers: {X-Content-Type-Options: [nosniff]}
  http2: {disabled: false}
  h2c: {enabled: false}
notifications:
  events: {includereferences: true}
  endpoints: [{name: a, disabled: true, url: 'http://localhost:5003/callback', headers: {A: [b]}, timeout: 1s}]
redis: {addr: 'localhost:6379', addrs: ['localhost:6379'], db: 0, tls: {enabled: false}, pool: {maxidle: 16}}
reporting: {bugsnag: {apikey: x}, newrelic: {verbose: false}}
health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
  file: [{file: /x, interval: 10s}]
proxy:
  remoteurl: https://registry-1.docker.io
  username: username
  password: password
  ttl: 168h
  cachewritetimeout: 5m
compatibility: {schema1: {signingkeyfile: /etc/x, enabled: false}}
policy: {repository: {classes: [plugin, image]}}
";

#[test]
fn every_setting_of_distribution_starts() {
    let config = load(EVERY, &[]).unwrap().config;
    assert_eq!(config.storage.driver, Driver::S3);
    assert_eq!((config.tags.maxtags, config.storage.delete.enabled), (1000, false));
    // The variables of the Helm chart for distribution's image, besides its file.
    let chart = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_HTTP_SECRET", "1234567890123456"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/var/lib/registry"),
        ("REGISTRY_PROXY_TTL", "168h"),
        ("REGISTRY_HTTP_DEBUG_ADDR", ":5001"),
        ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
    ];
    let config = load("", &chart).unwrap().config;
    assert_eq!(config.auth.scheme, Scheme::Htpasswd);
}

/// A setting that pounce does not support is accepted if its value is the default.
#[test]
fn a_refused_setting_that_is_off_is_accepted() {
    let files = [
        "storage: {s3: {skipverify: false}}",
        "storage: {s3: {skipverify: 'False'}}",
        "storage: {s3: {skipverify: ~}}",
        "storage: {s3: {v4auth: true, accelerate: false, usedualstack: false}}",
        "http: {tls: {letsencrypt: {}}}",
        "http: {tls: {letsencrypt: ~}}",
        "http: {tls: {letsencrypt: {cachefile: '', email: a@example.com, hosts: [a]}}}",
    ];
    let driver = ("REGISTRY_STORAGE", "filesystem");
    for file in files {
        if let Err(error) = load(file, &[driver]) {
            panic!("{file}: {error}");
        }
    }
    for variable in [
        ("REGISTRY_STORAGE_S3_SKIPVERIFY", "false"),
        ("REGISTRY_STORAGE_S3_SKIPVERIFY", "\"no\""),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL", "a@example.com"),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT", "{hosts: [a]}"),
    ] {
        if let Err(error) = load("", &[driver, variable]) {
            panic!("{variable:?}: {error}");
        }
    }
}

/// The variables of Services named registry, registry-auth, registry-auth-token, registry-storage-gcs, registry-redis
/// and registry-http-headers.
#[test]
fn kubernetes_service_links_are_warned_of_once() {
    let mut variables = Vec::new();
    for service in ["", "AUTH_", "AUTH_TOKEN_", "STORAGE_GCS_", "REDIS_", "HTTP_HEADERS_"] {
        let url = "tcp://10.96.7.7:5000";
        for (name, value) in [
            ("SERVICE_HOST", "10.96.7.7"),
            ("SERVICE_PORT", "5000"),
            ("SERVICE_PORT_HTTP", "5000"),
            ("PORT", url),
            ("PORT_5000_TCP", url),
            ("PORT_5000_TCP_PROTO", "tcp"),
            ("PORT_5000_TCP_PORT", "5000"),
            ("PORT_5000_TCP_ADDR", "10.96.7.7"),
        ] {
            variables.push((format!("REGISTRY_{service}{name}"), value));
        }
    }
    let mut given: Vec<_> = variables.iter().map(|(name, value)| (&name[..], *value)).collect();
    // These are settings, although they look like a Service's variables.
    given.push(("REGISTRY_AUTH_TOKEN_SERVICE", "10.96.7.7"));
    given.push(("REGISTRY_PROXY_REMOTEURL", "http://10.96.7.7:5000"));
    given.push(("REGISTRY_PROXY_HOST", "10.96.7.7"));
    let token = "auth: {token: {realm: 'https://a/t', issuer: i, jwks: /k}}";
    let loaded = load(token, &given).unwrap();
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    assert!(loaded.notices[0].contains("and 45 more") && loaded.notices[0].contains("enableServiceLinks"));
    let config = loaded.config;
    assert_eq!(config.auth.token.service.as_deref(), Some("10.96.7.7"));
    assert_eq!(config.proxy.host[0].as_str(), "10.96.7.7");
    assert!(config.http.headers.is_empty(), "{:?}", config.http.headers);
}

/// distribution unmarshals a variable into the section that it names.
#[test]
fn a_variable_may_have_a_whole_section() {
    let storages = [
        "{filesystem: {rootdirectory: /d}, delete: {enabled: true}}",
        r#"{"filesystem": {"rootdirectory": "/d", "maxthreads": 100}, "delete": {"enabled": true}}"#,
        "filesystem:\n  rootdirectory: /d\ndelete:\n  enabled: true\n",
    ];
    for storage in storages {
        let file = "storage: {s3: {bucket: b}}";
        let loaded = load(file, &[("REGISTRY_STORAGE", storage)]).unwrap();
        assert_eq!(loaded.config.storage.driver, Driver::Filesystem);
        assert!(loaded.config.storage.delete.enabled);
        assert!(loaded.config.storage.s3.bucket.is_none());
    }
    for auth in ["{htpasswd: {realm: x, path: /p}}", "htpasswd:\n  realm: x\n  path: /p"] {
        let loaded = load("", &[("REGISTRY_AUTH", auth)]).unwrap();
        assert_eq!(loaded.config.auth.scheme, Scheme::Htpasswd);
        assert!(loaded.settings().iter().any(|(path, _, origin)| {
            path == "auth.htpasswd.realm" && *origin == pounce::config::Origin::Variable("REGISTRY_AUTH".to_owned())
        }));
    }
    let file = "auth: {htpasswd: {realm: x, path: /p}}";
    for (auth, scheme) in [
        ("\"htpasswd\"", Scheme::Htpasswd),
        (" htpasswd\n", Scheme::Htpasswd),
        ("~", Scheme::Htpasswd),
        (" ", Scheme::Htpasswd),
        ("{}", Scheme::Open),
    ] {
        let loaded = load(file, &[("REGISTRY_AUTH", auth)]).unwrap();
        assert_eq!(loaded.config.auth.scheme, scheme, "{auth}");
    }
    for (file, variables, said) in [
        ("auth: ''", &[][..], "auth: is empty"),
        ("", &[("REGISTRY_AUTH", "''")], "REGISTRY_AUTH: is empty"),
        ("", &[("REGISTRY_AUTH", "[a]")], "REGISTRY_AUTH: write one name"),
    ] {
        let error = load(file, variables).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn what_is_ignored_in_a_file_is_ignored_in_a_variable() {
    let driver = ("REGISTRY_STORAGE", "filesystem");
    for variable in [
        ("REGISTRY_LOG", "{level: debug, fields: {service: x}}"),
        ("REGISTRY_HTTP", "{addr: ':5000', http2: {disabled: true}}"),
        ("REGISTRY_STORAGE_FILESYSTEM", "{rootdirectory: /d, maxthreads: 100}"),
        ("REGISTRY_PROXY", "{remoteurl: 'https://r.example.com', ttl: 168h}"),
        ("REGISTRY_STORAGE_S3", "{bucket: b, v4auth: true, skipverify: false}"),
        ("REGISTRY_STORAGE_S3AWS_BUCKET", "b"),
    ] {
        if let Err(error) = load("", &[driver, variable]) {
            panic!("{variable:?}: {error}");
        }
    }
    let wrong = ("REGISTRY_STORAGE_S3", "{skipverify: true}");
    let error = load("", &[driver, wrong]).unwrap_err().to_string();
    assert!(error.starts_with("storage.s3.skipverify"), "{error}");
}

#[test]
fn s3aws_is_s3() {
    for (file, variables) in [
        ("storage: {s3aws: {bucket: b}}", &[][..]),
        ("storage: s3aws", &[("REGISTRY_STORAGE_S3_BUCKET", "b")]),
        ("storage: {s3: {bucket: b}}", &[("REGISTRY_STORAGE", "s3aws")]),
        ("", &[("REGISTRY_STORAGE", "{s3aws: {bucket: b}}")]),
        ("", &[("REGISTRY_STORAGE_S3AWS_BUCKET", "b")]),
    ] {
        let region = [("REGISTRY_STORAGE_S3_REGION", "auto")];
        let variables = [variables, &region[..]].concat();
        let config = load(file, &variables).unwrap().config;
        assert_eq!(config.storage.driver, Driver::S3, "{file} {variables:?}");
        assert_eq!(config.storage.s3.bucket.as_deref(), Some("b"));
    }
}

/// The variables of `docker run --link`.
#[test]
fn docker_links_do_not_end_the_start() {
    let loaded = load(
        "",
        &[
            ("REGISTRY_AUTH_ENV_FOO", "bar"),
            ("REGISTRY_AUTH_NAME", "/a/b"),
            ("REGISTRY_AUTH_PORT_5001_TCP_NAME", "/a/b"),
            ("REGISTRY_AUTH_PORT", ""),
        ],
    )
    .unwrap();
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    load("", &[("REGISTRY_AUTH_HTPASSWD_REALM", "")]).unwrap_err();
}
