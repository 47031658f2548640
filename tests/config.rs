//! Configuration: distribution's schema and variables, and what is wrong with those one wrote.

use pounce::config::{Config, ConfigError, Driver, Environment, Loaded, LogFormatter, Scheme};

fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::parse(yaml, &variables.iter().copied().collect::<Environment>())
}

/// The `.env` of Tigris' guide for distribution.
const GUIDE: &[(&str, &str)] = &[
    ("REGISTRY_STORAGE_S3_BUCKET", "bucketName"),
    ("REGISTRY_STORAGE_S3_ACCESSKEY", "tid_accessKey"),
    ("REGISTRY_STORAGE_S3_SECRETKEY", "tsec_secretAccessKey"),
    ("REGISTRY_STORAGE", "s3"),
    ("REGISTRY_STORAGE_S3_REGION", "auto"),
    (
        "REGISTRY_STORAGE_S3_REGIONENDPOINT",
        "https://t3.storage.dev",
    ),
    ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "false"),
    ("REGISTRY_STORAGE_S3_ENCRYPT", "false"),
    ("REGISTRY_STORAGE_S3_SECURE", "true"),
    ("REGISTRY_STORAGE_S3_V4AUTH", "true"),
    ("REGISTRY_STORAGE_S3_CHUNKSIZE", "5242880"),
    ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/"),
    (
        "REGISTRY_HTTP_SECRET",
        "0c0ffee0-0000-4000-8000-000000000000",
    ),
];

#[test]
fn the_guides_env_works_unchanged() {
    let Loaded {
        config, notices, ..
    } = load("", GUIDE).unwrap();
    let s3 = &config.storage.s3;
    assert_eq!(
        (config.storage.driver, s3.bucket.as_deref()),
        (Driver::S3, Some("bucketName"))
    );
    assert_eq!(
        (s3.chunksize, s3.forcepathstyle, s3.secure),
        (5_242_880, false, true)
    );
    assert_eq!(
        s3.secretkey.as_ref().unwrap().reveal(),
        "tsec_secretAccessKey"
    );
    let ignored: Vec<_> = notices
        .iter()
        .filter(|notice| notice.contains("is ignored"))
        .collect();
    assert!(
        notices.len() == ignored.len() && ignored.iter().any(|it| it.contains("V4AUTH")),
        "{notices:?}"
    );
}

#[test]
fn what_fly_storage_create_sets_is_enough() {
    let fly = [
        ("AWS_ACCESS_KEY_ID", "tid_AzureDiamond"),
        ("AWS_ENDPOINT_URL_S3", "https://fly.storage.tigris.dev"),
        ("AWS_REGION", "auto"),
        ("AWS_SECRET_ACCESS_KEY", "tsec_hunter2"),
        ("BUCKET_NAME", "delicate-sea-639"),
    ];
    let config = load("", &fly).unwrap().config;
    let s3 = &config.storage.s3;
    assert_eq!(config.storage.driver, Driver::S3);
    assert_eq!(s3.bucket.as_deref(), Some("delicate-sea-639"));
    assert_eq!(
        s3.regionendpoint.as_deref(),
        Some("https://fly.storage.tigris.dev")
    );
    assert_eq!(s3.region.as_deref(), Some("auto"));
    // What is said in pounce's own terms wins.
    let mut both = fly.to_vec();
    both.push(("REGISTRY_STORAGE_S3_BUCKET", "mine"));
    assert_eq!(
        load("", &both).unwrap().config.storage.s3.bucket.as_deref(),
        Some("mine")
    );
    let file = "storage: {s3: {bucket: written}}";
    assert_eq!(
        load(file, &fly)
            .unwrap()
            .config
            .storage
            .s3
            .bucket
            .as_deref(),
        Some("written")
    );
}

#[test]
fn the_example_shows_every_setting_with_its_default() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/registry.yml"))
        .unwrap();
    let Loaded {
        config, notices, ..
    } = load(&text, &[]).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let shown: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let mut defaults = serde_json::to_value(Config::default()).unwrap();
    // As it is written.
    defaults["version"] = shown["version"].to_string().into();
    assert_eq!(keys(&shown, ""), keys(&defaults, ""));
    assert_eq!(serde_json::to_value(config).unwrap(), defaults);
    assert!(
        text.lines()
            .filter(|line| line.contains(": ") && !line.trim_start().starts_with('#'))
            .count()
            > 25
    );
}

fn keys(value: &serde_json::Value, path: &str) -> Vec<String> {
    let Some(section) = value.as_object() else {
        return vec![path.to_owned()];
    };
    let mut all: Vec<_> = section
        .iter()
        .flat_map(|(key, child)| keys(child, &format!("{path}.{key}")))
        .collect();
    all.sort();
    all
}

#[test]
fn distributions_own_example_is_accepted() {
    let text = "
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";
    let Loaded {
        config, notices, ..
    } = load(text, &[]).unwrap();
    assert_eq!(config.storage.driver, Driver::Filesystem);
    assert_eq!(config.http.headers["X-Content-Type-Options"], ["nosniff"]);
    assert_eq!(notices.len(), 3, "{notices:?}");
    // Its image's defaults, with the bucket from the environment.
    let config = load(text, GUIDE).unwrap().config;
    assert_eq!(config.storage.driver, Driver::S3);
}

/// Every key of distribution's documentation (2.8 to 3.1), in sections that can stand together, with values that it
/// starts with.
#[test]
fn every_setting_of_distribution_starts() {
    let text = "
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
    let config = load(text, &[]).unwrap().config;
    assert_eq!(config.storage.driver, Driver::S3);
    assert_eq!(
        (config.tags.maxtags, config.storage.delete.enabled),
        (1000, false)
    );
    // What the Helm chart of distribution's image sets, beside its file.
    let chart = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_HTTP_SECRET", "1234567890123456"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        (
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            "/var/lib/registry",
        ),
        ("REGISTRY_PROXY_TTL", "168h"),
        ("REGISTRY_HTTP_DEBUG_ADDR", ":5001"),
        ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
    ];
    let config = load("", &chart).unwrap().config;
    assert_eq!(config.auth.scheme, Scheme::Htpasswd);
}

#[test]
fn a_page_of_no_length_is_the_default() {
    let page = |text: &str| {
        let config = load(&format!("catalog: {{maxentries: {text}}}"), &[]).unwrap();
        config.config.catalog.maxentries
    };
    assert_eq!([page("0"), page("-5"), page("7")], [1000, 1000, 7]);
    let tags = |text: &str| load(&format!("tags: {{maxtags: {text}}}"), &[]);
    assert_eq!(tags("0").unwrap().config.tags.maxtags, 10_000);
    assert_eq!(tags("100").unwrap().config.tags.maxtags, 100);
    let error = tags("-1").unwrap_err().to_string();
    assert!(error.starts_with("tags.maxtags"), "{error}");
}

#[test]
fn variables_override_the_file() {
    let file =
        "proxy: {remoteurl: 'https://one.example.com', tagttl: 5m}\nhttp: {headers: {A: [b]}}";
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", "https://two.example.com"),
        ("REGISTRY_PROXY_USERNAME", "user"),
        ("REGISTRY_PROXY_PASSWORD", "0123"),
        ("REGISTRY_LOG_FORMATTER", "json"),
        ("REGISTRY_HTTP_HEADERS_A_0", "c"),
        ("REGISTRY_STORAGE_REDIRECT", "{disable: true}"),
    ];
    let config = load(file, &variables).unwrap().config;
    assert_eq!(
        config.proxy.remoteurl.unwrap().to_string(),
        "https://two.example.com"
    );
    assert_eq!(
        config.proxy.password.unwrap().reveal(),
        "0123",
        "a password of digits is not a number"
    );
    assert_eq!(
        (config.log.formatter, config.proxy.tagttl.as_secs()),
        (LogFormatter::Json, 300)
    );
    assert!(config.storage.redirect.disable);
    assert_eq!(config.http.headers["A"], ["c"]);
}

#[test]
fn naming_a_way_to_log_in_chooses_it() {
    let scheme =
        |yaml: &str, variables: &[(&str, &str)]| load(yaml, variables).unwrap().config.auth.scheme;
    let users = ("REGISTRY_AUTH_HTPASSWD_USERS", "a:b");
    assert_eq!(scheme("", &[users]), Scheme::Htpasswd);
    assert_eq!(
        scheme("auth: {htpasswd: {path: /x}}", &[]),
        Scheme::Htpasswd
    );
    assert_eq!(
        scheme("", &[users, ("REGISTRY_AUTH", "htpasswd")]),
        Scheme::Htpasswd
    );
    assert_eq!(scheme("auth: none", &[]), Scheme::Open);
    assert_eq!(
        scheme("", &[users, ("REGISTRY_AUTH", "none")]),
        Scheme::Open
    );
    // As the example lists them.
    let listed = "auth: {htpasswd: {realm: null, path: null, users: null}}";
    assert_eq!(scheme(listed, &[]), Scheme::Open);
    // Lists from variables, with commas or as YAML.
    let networks = |text| {
        let config = load("", &[("REGISTRY_HTTP_TRUSTEDPROXIES", text)])
            .unwrap()
            .config;
        config.http.trustedproxies.len()
    };
    assert_eq!(
        (networks("10.0.0.0/8, fd00::/8"), networks("[10.0.0.0/8]")),
        (2, 1)
    );
}

#[test]
fn empty_variables_are_not_set() {
    let variables = [
        "PROXY_REMOTEURL",
        "LOG_LEVEL",
        "STORAGE_REDIRECT_DISABLE",
        "STORAGE_S3_BUCKET",
        "AUTH",
    ];
    let variables: Vec<_> = variables
        .iter()
        .map(|name| (format!("REGISTRY_{name}"), ""))
        .collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let config = load("proxy: {remoteurl: 'https://one.example.com'}", &variables)
        .unwrap()
        .config;
    assert_eq!(
        config.proxy.remoteurl.unwrap().to_string(),
        "https://one.example.com"
    );
    assert_eq!(config.storage.driver, Driver::Filesystem);
}

#[test]
fn secrets_do_not_show_themselves() {
    let mut variables = GUIDE.to_vec();
    variables.extend([
        ("REGISTRY_PROXY_USERNAME", "u"),
        ("REGISTRY_PROXY_PASSWORD", "hunter2"),
    ]);
    let config = load("", &variables).unwrap().config;
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(
        !shown.contains("hunter2") && !shown.contains("tsec_secretAccessKey"),
        "{shown}"
    );
}

#[test]
fn an_empty_secret_is_none() {
    for (yaml, variables) in [
        ("http: {secret: ''}", vec![]),
        ("", vec![("REGISTRY_HTTP_SECRET", "")]),
    ] {
        assert!(load(yaml, &variables).unwrap().config.http.secret.is_none());
    }
    let config = load("", &[("REGISTRY_HTTP_SECRET", "x")]).unwrap().config;
    assert_eq!(config.http.secret.unwrap().reveal(), "x");
}
