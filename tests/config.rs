//! Configuration: distribution's schema and variables, and mistakes in an operator's own.

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
    ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "https://t3.storage.dev"),
    ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "false"),
    ("REGISTRY_STORAGE_S3_ENCRYPT", "false"),
    ("REGISTRY_STORAGE_S3_SECURE", "true"),
    ("REGISTRY_STORAGE_S3_V4AUTH", "true"),
    ("REGISTRY_STORAGE_S3_CHUNKSIZE", "5242880"),
    ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/"),
    ("REGISTRY_HTTP_SECRET", "0c0ffee0-0000-4000-8000-000000000000"),
];

#[test]
fn the_guides_env_works_unchanged() {
    let Loaded { config, notices, .. } = load("", GUIDE).unwrap();
    let s3 = &config.storage.s3;
    assert_eq!((config.storage.driver, s3.bucket.as_deref()), (Driver::S3, Some("bucketName")));
    assert_eq!((s3.chunksize, s3.forcepathstyle, s3.secure), (5_242_880, false, true));
    assert_eq!(s3.secretkey.as_ref().unwrap().reveal(), "tsec_secretAccessKey");
    let ignored: Vec<_> = notices.iter().filter(|notice| notice.contains("is ignored")).collect();
    assert!(notices.len() == ignored.len() && ignored.iter().any(|it| it.contains("V4AUTH")), "{notices:?}");
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
    assert_eq!(s3.regionendpoint.as_deref(), Some("https://fly.storage.tigris.dev"));
    assert_eq!(s3.region.as_deref(), Some("auto"));
    // pounce's own variable wins over the provider's.
    let mut both = fly.to_vec();
    both.push(("REGISTRY_STORAGE_S3_BUCKET", "mine"));
    assert_eq!(load("", &both).unwrap().config.storage.s3.bucket.as_deref(), Some("mine"));
    let file = "storage: {s3: {bucket: written}}";
    assert_eq!(load(file, &fly).unwrap().config.storage.s3.bucket.as_deref(), Some("written"));
}

#[test]
fn the_example_shows_every_setting_with_its_default() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/registry.yml")).unwrap();
    let Loaded { config, notices, .. } = load(&text, &[]).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let shown: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let mut defaults = serde_json::to_value(Config::default()).unwrap();
    // The version is compared as the file writes it.
    defaults["version"] = shown["version"].to_string().into();
    assert_eq!(keys(&shown, ""), keys(&defaults, ""));
    assert_eq!(serde_json::to_value(config).unwrap(), defaults);
    assert!(text.lines().filter(|line| line.contains(": ") && !line.trim_start().starts_with('#')).count() > 25);
}

fn keys(value: &serde_json::Value, path: &str) -> Vec<String> {
    let Some(section) = value.as_object() else {
        return vec![path.to_owned()];
    };
    let mut all: Vec<_> = section.iter().flat_map(|(key, child)| keys(child, &format!("{path}.{key}"))).collect();
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
    let Loaded { config, notices, .. } = load(text, &[]).unwrap();
    assert_eq!(config.storage.driver, Driver::Filesystem);
    assert_eq!(config.http.headers["X-Content-Type-Options"], ["nosniff"]);
    assert_eq!(notices.len(), 3, "{notices:?}");
    // The defaults of distribution's image, with the bucket from the environment.
    let config = load(text, GUIDE).unwrap().config;
    assert_eq!(config.storage.driver, Driver::S3);
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
    let file = "proxy: {remoteurl: 'https://one.example.com', tagttl: 5m}\nhttp: {headers: {A: [b]}}";
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", "https://two.example.com"),
        ("REGISTRY_PROXY_USERNAME", "user"),
        ("REGISTRY_PROXY_PASSWORD", "0123"),
        ("REGISTRY_LOG_FORMATTER", "json"),
        ("REGISTRY_HTTP_HEADERS_A_0", "c"),
        ("REGISTRY_STORAGE_REDIRECT", "{disable: true}"),
    ];
    let config = load(file, &variables).unwrap().config;
    assert_eq!(config.proxy.remoteurl.unwrap().to_string(), "https://two.example.com");
    assert_eq!(config.proxy.password.unwrap().reveal(), "0123", "a password of digits is not a number");
    assert_eq!((config.log.formatter, config.proxy.tagttl.as_secs()), (LogFormatter::Json, 300));
    assert!(config.storage.redirect.disable);
    assert_eq!(config.http.headers["A"], ["c"]);
}

#[test]
fn naming_a_way_to_log_in_chooses_it() {
    let scheme = |yaml: &str, variables: &[(&str, &str)]| load(yaml, variables).unwrap().config.auth.scheme;
    let users = ("REGISTRY_AUTH_HTPASSWD_USERS", "a:b");
    assert_eq!(scheme("", &[users]), Scheme::Htpasswd);
    assert_eq!(scheme("auth: {htpasswd: {path: /x}}", &[]), Scheme::Htpasswd);
    assert_eq!(scheme("", &[users, ("REGISTRY_AUTH", "htpasswd")]), Scheme::Htpasswd);
    assert_eq!(scheme("auth: none", &[]), Scheme::Open);
    assert_eq!(scheme("", &[users, ("REGISTRY_AUTH", "none")]), Scheme::Open);
    // In the order of the example.
    let listed = "auth: {htpasswd: {realm: null, path: null, users: null}}";
    assert_eq!(scheme(listed, &[]), Scheme::Open);
    // Lists in variables, with commas or as YAML.
    let networks = |text| {
        let config = load("", &[("REGISTRY_HTTP_TRUSTEDPROXIES", text)]).unwrap().config;
        config.http.trustedproxies.len()
    };
    assert_eq!((networks("10.0.0.0/8, fd00::/8"), networks("[10.0.0.0/8]")), (2, 1));
}

#[test]
fn empty_variables_are_not_set() {
    let variables = ["PROXY_REMOTEURL", "LOG_LEVEL", "STORAGE_REDIRECT_DISABLE", "STORAGE_S3_BUCKET", "AUTH"];
    let variables: Vec<_> = variables.iter().map(|name| (format!("REGISTRY_{name}"), "")).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let config = load("proxy: {remoteurl: 'https://one.example.com'}", &variables).unwrap().config;
    assert_eq!(config.proxy.remoteurl.unwrap().to_string(), "https://one.example.com");
    assert_eq!(config.storage.driver, Driver::Filesystem);
}

#[test]
fn secrets_do_not_show_themselves() {
    let mut variables = GUIDE.to_vec();
    variables.extend([("REGISTRY_PROXY_USERNAME", "u"), ("REGISTRY_PROXY_PASSWORD", "hunter2")]);
    let config = load("", &variables).unwrap().config;
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("tsec_secretAccessKey"), "{shown}");
}

#[test]
fn an_empty_secret_is_none() {
    for (yaml, variables) in [("http: {secret: ''}", vec![]), ("", vec![("REGISTRY_HTTP_SECRET", "")])] {
        assert!(load(yaml, &variables).unwrap().config.http.secret.is_none());
    }
    let config = load("", &[("REGISTRY_HTTP_SECRET", "x")]).unwrap().config;
    assert_eq!(config.http.secret.unwrap().reveal(), "x");
}

#[test]
fn a_file_without_an_end_is_not_read_for_ever() {
    let loaded = Config::load(Some(std::path::Path::new("/dev/zero")), &Environment::default());
    assert_eq!(loaded.unwrap_err().to_string(), "/dev/zero: it is larger than 4194304 bytes");
}
