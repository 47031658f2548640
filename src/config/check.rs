//! Checks after the settings have their types: bounds, and settings that need or exclude each other.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::auth::{Auth, Htpasswd, Scheme, Token};
use super::bucket_keys::BUCKET;
use super::error::ConfigError;
use super::hosts::{ServerName, UpstreamHost};
use super::http::{Http, Tls};
use super::notifications::Notifications;
use super::proxy::{Proxy, Remote};
use super::schema::Config;
use super::storage::{Driver, Storage};
use super::{admission, durations, oidc, ollama, retention, rules};

/// A check of settings together.
type Check<'a> = &'a dyn Fn(&mut Mistakes<'_>);

/// Adds every mistake. Checks of several settings are left out if an earlier mistake is in one of their sections, because
/// the setting that is missing here may be the one that was wrong.
pub(super) fn check(config: &Config, errors: &mut Vec<ConfigError>) {
    let Config { storage, proxy, http, auth, .. } = config;
    let unsound: Vec<String> = errors.iter().map(ConfigError::section).collect();
    let mut mistakes = Mistakes(errors);
    check_bounds(config, &mut mistakes);
    let checks: [(&[&str], Check<'_>); 10] = [
        (&["storage"], &|mistakes| check_storage(storage, mistakes)),
        (&["storage", "proxy"], &|mistakes| retention::check(&storage.retention, &proxy.host_names(), mistakes.0)),
        (&["proxy"], &|mistakes| check_upstreams(proxy, mistakes)),
        (&["proxy"], &|mistakes| admission::check(proxy, mistakes.0)),
        (&["proxy", "http"], &|mistakes| check_hostnames(proxy, http, mistakes)),
        (&["auth", "http"], &|mistakes| check_auth(auth, http, mistakes)),
        (&["auth", "storage"], &|mistakes| check_bucket_keys(auth, storage, mistakes)),
        (&["auth", "proxy"], &|mistakes| {
            mistakes.add(rules::check(&auth.rules, &proxy.host_names(), &auth.kinds_of_users()));
        }),
        (&["http"], &|mistakes| check_http(http, mistakes)),
        (&["notifications"], &|mistakes| check_endpoints(&config.notifications, mistakes)),
    ];
    for (sections, check) in checks {
        if !sections.iter().any(|section| unsound.iter().any(|it| it == section)) {
            check(&mut mistakes);
        }
    }
}

/// The mistakes that were found.
struct Mistakes<'a>(&'a mut Vec<ConfigError>);

impl Mistakes<'_> {
    /// Adds a mistake with this message, unless the condition holds.
    fn require(&mut self, holds: bool, setting: impl Into<String>, message: &str) {
        if !holds {
            self.0.push(ConfigError::value(setting, message));
        }
    }

    fn add(&mut self, checked: Result<(), ConfigError>) {
        self.0.extend(checked.err());
    }
}

/// Every number and duration with a range.
fn check_bounds(config: &Config, mistakes: &mut Mistakes<'_>) {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    let Config { storage, proxy, http, .. } = config;
    let (part, part_message) = (5 << 20..=5 << 30, "a part has from 5242880 (5 MiB) to 5368709120 (5 GiB) bytes");
    let numbers: [(&str, u64, RangeInclusive<u64>, &str); 8] = [
        ("storage.s3.chunksize", storage.s3.chunksize, part.clone(), part_message),
        ("storage.s3.multipartcopychunksize", storage.s3.multipartcopychunksize, part, part_message),
        (
            "storage.s3.multipartcopythresholdsize",
            storage.s3.multipartcopythresholdsize,
            0..=5 << 30,
            "it is from 0 to 5368709120 (5 GiB) bytes",
        ),
        ("proxy.fill.connections", proxy.fill.connections as u64, 1..=32, "a fill has from 1 to 32 connections"),
        (
            "proxy.fill.maxconnections",
            proxy.fill.maxconnections as u64,
            1..=256,
            "all fills together have from 1 to 256 connections",
        ),
        ("proxy.fill.concurrency", proxy.fill.concurrency as u64, 1..=64, "from 1 to 64 fills can run at once"),
        (
            "proxy.fill.memory",
            proxy.fill.memory.unwrap_or(64 << 20),
            32 << 20..=1 << 40,
            "fills take from 33554432 (32 MiB) to 1099511627776 (1 TiB) bytes",
        ),
        (
            "http.limits.connections",
            http.limits.connections as u64,
            16..=1_000_000,
            "from 16 to 1000000 connections can be open at once",
        ),
    ];
    let idle_message = "a client may be idle from 1s to 1h";
    let durations = [
        (
            "storage.redirect.expiry",
            storage.redirect.expiry,
            Duration::from_mins(1)..=7 * 24 * HOUR,
            "a presigned URL lives from 1m to 168h",
        ),
        (
            "proxy.fill.stalltimeout",
            proxy.fill.stalltimeout,
            Duration::from_millis(100)..=30 * SECOND,
            "an upstream may be silent from 100ms to 30s",
        ),
        (
            "http.limits.headertimeout",
            http.limits.headertimeout,
            SECOND..=300 * SECOND,
            "a header may take from 1s to 5m",
        ),
        (
            "storage.maintenance.gc.interval",
            storage.maintenance.gc.interval,
            Duration::from_mins(10)..=Duration::MAX,
            "rounds are at least 10m apart",
        ),
        ("http.limits.idletimeout", http.limits.idletimeout, SECOND..=HOUR, idle_message),
        ("http.limits.writetimeout", http.limits.writetimeout, SECOND..=HOUR, idle_message),
    ];
    if storage.maintenance.gc.enabled {
        let ttl = proxy.ttl.unwrap_or_default();
        let message = "is at least 1h, because use is recorded every 15 minutes; 0 keeps what came from upstreams";
        mistakes.require(ttl.is_zero() || ttl >= retention::SHORTEST, "proxy.ttl", message);
    }
    for (setting, value, range, message) in numbers {
        mistakes.require(range.contains(&value), setting, message);
    }
    for (setting, value, range, message) in durations {
        mistakes.require(range.contains(&value), setting, message);
    }
}

fn check_storage(storage: &Storage, mistakes: &mut Mistakes<'_>) {
    let s3 = &storage.s3;
    let has_credentials = s3.regionendpoint.as_ref().is_some_and(|it| it.contains('@'));
    mistakes.require(
        !has_credentials,
        "storage.s3.regionendpoint",
        "must not contain credentials, they have settings of their own",
    );
    check_delay(storage, mistakes);
    mistakes.require(
        storage.maxsize.is_none_or(|size| size.bytes() > 0),
        "storage.maxsize",
        "is more than 0: leave it out to hold any number of bytes",
    );
    if storage.driver == Driver::Filesystem {
        return;
    }
    mistakes.require(s3.bucket.is_some(), "storage.s3.bucket", "is missing: name the bucket");
    mistakes.require(
        s3.region.is_some() || s3.regionendpoint.is_some(),
        "storage.s3.region",
        "is missing; for Tigris, set it to auto and storage.s3.regionendpoint to https://t3.storage.dev",
    );
    let is_pair = s3.accesskey.is_some() == s3.secretkey.is_some();
    mistakes.require(is_pair, "storage.s3.accesskey", "and secretkey must be set together");
}

/// A redirect that a client has, and what replicas believe to be there, must outlive nothing that they need.
fn check_delay(storage: &Storage, mistakes: &mut Mistakes<'_>) {
    let (least, expiry) = (storage.redirect.least_delay(), storage.redirect.expiry);
    let message = format!(
        "is at least {}, because clients may use a URL of a blob for {} (storage.redirect.expiry), replicas believe for \
         10m what the bucket has, and a download takes up to 1h",
        durations::written(least),
        durations::written(expiry)
    );
    mistakes.require(storage.deletion_delay() >= least, "storage.maintenance.gc.delay", &message);
}

fn check_upstreams(proxy: &Proxy, mistakes: &mut Mistakes<'_>) {
    check_credentials("proxy", &proxy.own(), mistakes);
    let names_upstream = proxy.remoteurl.is_some() || proxy.host.is_empty();
    mistakes.require(names_upstream, "proxy.host", "names the upstream at proxy.remoteurl, and there is none");
    let mut hosts: Vec<&str> = proxy.host.iter().map(UpstreamHost::as_str).collect();
    for (index, remote) in proxy.upstreams.iter().enumerate() {
        let section = format!("proxy.upstreams.{index}");
        check_credentials(&section, remote, mistakes);
        let setting = format!("{section}.host");
        let Some(host) = remote.host.as_ref().map(UpstreamHost::as_str) else {
            mistakes.require(false, setting, "is missing");
            continue;
        };
        mistakes.require(!hosts.contains(&host), setting, &format!("{host} is an upstream already"));
        hosts.push(host);
    }
}

/// A name of pounce selects one upstream, and no name means one host to clients and another to pounce.
fn check_hostnames(proxy: &Proxy, http: &Http, mistakes: &mut Mistakes<'_>) {
    let own = http.host.as_ref().and_then(|url| url.as_url().host_str());
    let mut known: Vec<&ServerName> = Vec::new();
    for (index, remote) in proxy.upstreams.iter().enumerate() {
        let setting = || format!("proxy.upstreams.{index}.hostnames");
        let others = proxy.upstreams.iter().enumerate().filter(|(other, _)| *other != index);
        let others: Vec<&UpstreamHost> = others.filter_map(|(_, other)| other.host.as_ref()).collect();
        let default = proxy.default_hosts();
        for name in &remote.hostnames {
            let text = name.as_str();
            let message = format!("{text} stands in the list of an upstream already");
            mistakes.require(!known.contains(&name), setting(), &message);
            let is_another = others.iter().copied().chain(&default).any(|host| name.is_called_by(host.name()));
            mistakes.require(!is_another, setting(), &format!("{text} is the host of another upstream"));
            let message = format!(
                "{text} is the host of http.host, by which clients reach all upstreams: give pounce a further name"
            );
            mistakes.require(!own.is_some_and(|own| name.is_called_by(own)), setting(), &message);
            known.push(name);
        }
    }
}

fn check_credentials(section: &str, remote: &Remote, mistakes: &mut Mistakes<'_>) {
    let is_pair = remote.username.is_some() == remote.password.is_some();
    mistakes.require(is_pair, format!("{section}.username"), "and password must be set together");
    let others = [remote.username.is_some(), remote.exec.command.is_some()];
    let setting = format!("{section}.credentials");
    mistakes.require(
        remote.credentials.is_empty() || others == [false, false],
        &setting,
        "are several accounts; username and password, or exec.command, are another way: choose",
    );
    for (index, account) in remote.credentials.iter().enumerate() {
        let setting = format!("{setting}.{index}");
        let is_whole = !account.username.is_empty() && !account.password.reveal().is_empty();
        mistakes.require(is_whole, &setting, "has a username and a password");
        let before = &remote.credentials[..index];
        let message = format!("{} stands in the list already", account.username);
        mistakes.require(!before.iter().any(|it| it.username == account.username), &setting, &message);
    }
    let command = remote.exec.command.as_ref();
    let setting = format!("{section}.exec.command");
    mistakes.require(command.is_none_or(|command| !command.as_os_str().is_empty()), &setting, "is empty");
    mistakes.require(
        command.is_some() || remote.exec.lifetime.is_none(),
        format!("{section}.exec.lifetime"),
        "is the lifetime of the answers of exec.command, and there is no command",
    );
    mistakes.require(
        command.is_none() || remote.username.is_none(),
        setting,
        "is one way to get credentials, username and password are another: choose",
    );
}

fn check_auth(auth: &Auth, http: &Http, mistakes: &mut Mistakes<'_>) {
    mistakes.require(
        auth.anonymous.is_none() || auth.scheme == Scheme::Open,
        "auth.anonymous",
        "is for a registry without htpasswd, oidc, bucketkeys and token: write a rule in auth.rules, with users: \
         [anonymous]",
    );
    mistakes.require(
        auth.ollama.keys.is_empty() || auth.scheme == Scheme::Htpasswd,
        "auth.ollama.keys",
        "need auth.htpasswd, beside which pounce issues tokens itself; its users may be others",
    );
    mistakes.add(ollama::check(&auth.ollama.keys));
    mistakes.require(
        auth.ollama.keys.is_empty() || http.host.is_some(),
        "auth.ollama.keys",
        "need http.host: Ollama signs the URL of the token server, and with another registry's anyone could log in here",
    );
    oidc::check(&auth.oidc, mistakes.0);
    mistakes.require(
        auth.oidc.is_empty() || matches!(auth.scheme, Scheme::Htpasswd | Scheme::Oidc),
        "auth.oidc",
        "is beside auth.htpasswd, or alone: with auth.token, the token server says which clients log in, and with \
         REGISTRY_AUTH=none no client does",
    );
    match auth.scheme {
        Scheme::Open => mistakes.require(
            auth.rules.is_empty(),
            "auth.rules",
            "need auth.htpasswd, auth.oidc, auth.bucketkeys or auth.token, which authenticate clients; without them, \
             auth.anonymous lists what clients may do",
        ),
        Scheme::Htpasswd => check_htpasswd(&auth.htpasswd, mistakes),
        Scheme::Oidc => {
            mistakes.require(!auth.oidc.is_empty(), "auth.oidc", "is missing: the issuers whose tokens log clients in");
            // It is in the challenge.
            mistakes.require(is_quotable(auth.htpasswd.realm()), "auth.htpasswd.realm", QUOTABLE);
        }
        Scheme::BucketKeys => {
            mistakes.require(
                auth.bucketkeys,
                "auth.bucketkeys",
                "is not true: the keys of the bucket log no client in",
            );
            mistakes.require(is_quotable(auth.htpasswd.realm()), "auth.htpasswd.realm", QUOTABLE);
        }
        Scheme::Token => check_token(&auth.token, mistakes),
    }
}

fn check_bucket_keys(auth: &Auth, storage: &Storage, mistakes: &mut Mistakes<'_>) {
    if !auth.bucketkeys {
        return;
    }
    mistakes.require(
        storage.driver == Driver::S3,
        "auth.bucketkeys",
        "need storage.s3: a folder (storage.filesystem) has no keys that could be given to clients",
    );
    mistakes.require(
        matches!(auth.scheme, Scheme::Htpasswd | Scheme::Oidc | Scheme::BucketKeys),
        "auth.bucketkeys",
        "are beside auth.htpasswd and auth.oidc, or alone: with auth.token, the token server says which clients log in, \
         and with REGISTRY_AUTH=none no client does",
    );
    if let Some(index) = auth.oidc.iter().position(|provider| provider.name() == BUCKET) {
        let message = "is what the names of users with keys of the bucket begin with: take another one";
        mistakes.require(false, format!("auth.oidc.{index}.name"), message);
    }
}

fn check_htpasswd(htpasswd: &Htpasswd, mistakes: &mut Mistakes<'_>) {
    let has_users = htpasswd.users.as_ref().is_some_and(|text| !text.reveal().trim().is_empty());
    mistakes.require(
        has_users || htpasswd.path.is_some(),
        "auth.htpasswd.users",
        "or path is missing: lines as `pounce htpasswd USER` prints them",
    );
    let has_empty_path = htpasswd.path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    mistakes.require(!has_empty_path, "auth.htpasswd.path", "is empty");
    mistakes.require(is_quotable(htpasswd.realm()), "auth.htpasswd.realm", QUOTABLE);
}

fn check_token(token: &Token, mistakes: &mut Mistakes<'_>) {
    mistakes.require(token.realm.is_some() || token.is_beside(), "auth.token.realm", "is missing");
    mistakes.require(
        token.path().starts_with('/') && is_quotable(token.path()),
        "auth.token.autoredirectpath",
        "must begin with a /, and have no quotes",
    );
    for (setting, value) in [("auth.token.service", &token.service), ("auth.token.issuer", &token.issuer)] {
        let value = value.as_deref().unwrap_or_default();
        mistakes.require(!value.is_empty(), setting, "is missing");
        mistakes.require(is_quotable(value), setting, QUOTABLE);
    }
    mistakes.require(
        token.rootcertbundle.is_some() || token.jwks.is_some(),
        "auth.token.rootcertbundle",
        "or jwks is missing: the keys that tokens are signed with",
    );
}

fn check_http(http: &Http, mistakes: &mut Mistakes<'_>) {
    let Tls { certificate, key, clientcas, .. } = &http.tls;
    mistakes.require(certificate.is_some() == key.is_some(), "http.tls.certificate", "and key must be set together");
    mistakes.require(
        certificate.is_some() || clientcas.is_empty(),
        "http.tls.clientcas",
        "needs http.tls.certificate and key",
    );
    let begins = |path: &str| path.starts_with('/');
    mistakes.require(http.prefix.is_empty() || begins(&http.prefix), "http.prefix", "must begin with a /");
    mistakes.require(begins(&http.debug.prometheus.path), "http.debug.prometheus.path", "must begin with a /");
}

fn check_endpoints(notifications: &Notifications, mistakes: &mut Mistakes<'_>) {
    // More is no answer that anything waits for; less is a number that was meant in another unit than nanoseconds.
    let (bounds, message) = (Duration::from_millis(1)..=Duration::from_hours(1), "it is from 1ms to 1h, as in 500ms");
    for (index, endpoint) in notifications.enabled() {
        let setting = |key: &str| format!("notifications.endpoints.{index}.{key}");
        mistakes.require(endpoint.url.is_some(), setting("url"), "is missing: where events are sent");
        mistakes.require(bounds.contains(&endpoint.timeout()), setting("timeout"), message);
        mistakes.require(bounds.contains(&endpoint.backoff()), setting("backoff"), message);
    }
}

const QUOTABLE: &str = "must be visible ASCII or blanks, without quotes and backslashes";

/// Whether a text can be in a quoted string of a header (RFC 9110, section 5.6.4).
fn is_quotable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}
