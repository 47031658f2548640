//! The known settings, and those of distribution that pounce ignores or refuses.
//!
//! The default configuration has all known keys, so that there is no second list: an object is a section, an empty
//! object takes any key, a list of sections has one of them, and everything else is a value.

use std::time::Duration;

use serde_json::Value;

use super::notifications::EventEndpoint;
use super::oidc::OidcProvider;
use super::ollama::OllamaKey;
use super::proxy::Account;
use super::retention::{KeptTags, RetentionRule};
use super::rules::Rule;
use super::scalars;
use super::schema::Config;
use super::sizes::ByteSize;
use super::validation::RequiredPlatform;

/// distribution's settings that have no effect here, and why. The root of a section stands for all of it.
const IGNORED: &[(&str, &str)] = &[
    ("compatibility", "schema 1 manifests are passed on as they are"),
    ("health", "/healthz and /readyz need no configuration"),
    ("http.http2", "HTTP/2 is always on"),
    ("http.h2c", "HTTP/2 is always on"),
    ("http.net", "pounce listens on TCP"),
    ("http.tls.ciphersuites", "all that pounce supports are safe"),
    ("log.fields", "let the collector of the log add them"),
    ("log.hooks", "send errors from the log"),
    ("log.reportcaller", "every line has the module"),
    ("loglevel", "use log.level"),
    ("middleware", "redirects are built in"),
    ("policy", "pounce has none"),
    ("proxy.cachewritetimeout", "clients do not wait for the bucket"),
    ("redis", "pounce keeps its cache in memory and shares only the bucket"),
    ("reporting", "pounce has none"),
    ("storage.cache", "pounce keeps its cache in memory"),
    ("storage.filesystem.maxthreads", "the number of threads follows the machine"),
    ("storage.s3.loglevel", "use log.level"),
    ("storage.s3.useragent", "the SDK names itself"),
    ("storage.s3.v4auth", "requests are always signed with Signature V4"),
    ("storage.tag", "tags are listed by the bucket"),
    ("validation.manifests.urls", "URLs in manifests are neither followed nor restricted, so that any can be pushed"),
];

/// Settings that must not be ignored, because an operator relies on them; unless they are switched off.
const REFUSED: &[Refused] = &[
    Refused { key: "auth.silly", why: "it accepts any credentials; use auth.htpasswd", harmless: Harmless::Never },
    Refused {
        key: "http.tls.letsencrypt",
        why: "pounce keeps no state, so it cannot store certificates: get them with another program, and name the files",
        // Without it, distribution does nothing either.
        harmless: Harmless::Without("cachefile"),
    },
    Refused {
        key: "storage.s3.skipverify",
        why: "certificates are always verified; add yours to the system's trusted ones",
        harmless: Harmless::False,
    },
    Refused { key: "storage.azure", why: "pounce keeps blobs in S3", harmless: Harmless::Never },
    Refused { key: "storage.gcs", why: "pounce keeps blobs in S3", harmless: Harmless::Never },
    Refused {
        key: "storage.inmemory",
        why: "pounce keeps blobs in S3 or in a folder (storage.filesystem)",
        harmless: Harmless::Never,
    },
];

/// A refused setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    key: &'static str,
    /// What to do instead.
    pub(super) why: &'static str,
    harmless: Harmless,
}

impl Refused {
    /// Whether `value`, at `path`, which may be below the setting, has no effect. It has no types yet.
    pub(super) fn is_harmless(&self, path: &[&str], value: &Value) -> bool {
        let below = &path[self.key.split('.').count()..];
        let says_nothing = |value: &Value| value.is_null() || value.as_str() == Some("");
        match (self.harmless, below, value) {
            (Harmless::Never, ..) => false,
            (Harmless::False, [], Value::String(text)) if scalars::boolean(text) == Some(false) => true,
            (Harmless::Without(key), [], Value::Object(section)) => section.get(key).is_none_or(says_nothing),
            (Harmless::Without(key), [first, ..], _) if *first != key => true,
            (_, _, value) => says_nothing(value),
        }
    }
}

/// When a refused setting has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harmless {
    /// Never, because its name alone chooses something.
    Never,
    /// If it is false.
    False,
    /// If it is a section without a value for this key.
    Without(&'static str),
}

/// What a key is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A section, with its keys.
    Section(Vec<&'a str>),
    /// A setting, with its default, which has the type.
    Setting(&'a Value),
    /// A list of sections.
    List,
    /// A section that takes any key.
    Free,
    /// Accepted without effect, for this reason.
    Ignored(&'static str),
    /// Refused, or below a refused section, unless the value is harmless.
    Refused(&'static Refused),
    /// Unknown, with the most similar known key.
    Unknown(Option<String>),
}

/// The known keys.
pub(super) struct Keys(Value);

impl Keys {
    pub(super) fn new() -> Self {
        let mut shown = Config::default();
        // Optional settings need a value, to have a type.
        shown.http.relativeurls = Some(false);
        shown.http.limits.connectionsperaddress = Some(0);
        shown.storage.s3.tigris = Some(false);
        shown.storage.maxsize = Some(ByteSize::new(0));
        shown.storage.maintenance.gc.delay = Some(Duration::ZERO);
        shown.storage.retention.push(RetentionRule {
            unpulled: Some(Duration::ZERO),
            untagged: Some(Duration::ZERO),
            keep: KeptTags { newest: Some(0), tags: Vec::new() },
            ..RetentionRule::default()
        });
        shown.auth.token.autoredirect = Some(false);
        shown.auth.anonymous = Some(Vec::new());
        shown.proxy.fill.memory = Some(0);
        shown.proxy.spool.maxsize = Some(0);
        shown.proxy.ttl = Some(Duration::ZERO);
        shown.proxy.exec.lifetime = Some(Duration::ZERO);
        shown.proxy.credentials.push(Account::default());
        shown.proxy.allow = Some(Vec::new());
        shown.proxy.upstreams.push(shown.proxy.own());
        shown.notifications.endpoints.push(EventEndpoint::default());
        shown.auth.oidc.push(OidcProvider::default());
        shown.auth.ollama.keys.push(OllamaKey::default());
        let (repositories, networks) = (Some(Vec::new()), Some(Vec::new()));
        shown.auth.rules.push(Rule { repositories, networks, ..Rule::default() });
        let validation = &mut shown.validation;
        (validation.disabled, validation.enabled) = (Some(false), Some(false));
        let indexes = &mut validation.manifests.indexes;
        indexes.platformlist.push(RequiredPlatform::default());
        let defaults = serde_json::to_value(shown);
        Self(defaults.unwrap_or_else(|error| unreachable!("the default configuration is plain data: {error}")))
    }

    /// What the key at a path is. The path is in lower case.
    pub(super) fn find(&self, path: &[&str]) -> Key<'_> {
        for depth in 1..=path.len() {
            let dotted = path[..depth].join(".");
            if let Some((_, why)) = IGNORED.iter().find(|(key, _)| *key == dotted) {
                return Key::Ignored(why);
            }
            if let Some(refused) = REFUSED.iter().find(|refused| refused.key == dotted) {
                return Key::Refused(refused);
            }
        }
        let mut node = &self.0;
        for (depth, key) in path.iter().enumerate() {
            match node {
                Value::Object(section) if section.is_empty() => return Key::Free,
                Value::Array(list) => match list.first() {
                    // The key of an element is its index.
                    Some(shown) if key.parse::<usize>().is_ok() => node = shown,
                    Some(_) => return Key::Unknown(self.nearest(&path[..depth], path)),
                    None => return Key::Free,
                },
                Value::Object(section) => match section.get(*key) {
                    Some(child) => node = child,
                    None => return Key::Unknown(self.nearest(&path[..depth], path)),
                },
                _ => return Key::Unknown(self.nearest(&path[..depth], path)),
            }
        }
        match node {
            Value::Object(section) if section.is_empty() => Key::Free,
            Value::Array(list) if !list.is_empty() => Key::List,
            Value::Object(section) => Key::Section(section.keys().map(String::as_str).collect()),
            value => Key::Setting(value),
        }
    }

    /// The known path that is most similar to `path`, preferably a sibling.
    fn nearest(&self, section: &[&str], path: &[&str]) -> Option<String> {
        let wanted = path.join(".").to_ascii_lowercase();
        let mut known = Vec::new();
        collect(&self.0, &mut Vec::new(), &mut known);
        let exceptions = IGNORED.iter().map(|(key, _)| *key);
        let exceptions = exceptions.chain(REFUSED.iter().map(|refused| refused.key));
        known.extend(exceptions.map(str::to_owned));
        let here = section.join(".");
        let score = |key: &String| {
            let sibling = if !here.is_empty() && key.starts_with(&here) { 0.05 } else { 0.0 };
            strsim::jaro_winkler(key, &wanted) + sibling
        };
        known
            .into_iter()
            .map(|key| (score(&key), key))
            .filter(|(score, _)| *score > 0.75)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| key)
    }
}

fn collect<'a>(node: &'a Value, path: &mut Vec<&'a str>, known: &mut Vec<String>) {
    if let Value::Object(section) = node {
        for (key, child) in section {
            path.push(key);
            known.push(path.join("."));
            collect(child, path, known);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let keys = Keys::new();
        let cases: [(&[&str], &str); 4] = [
            (&["storage", "s3", "buckt"], "storage.s3.bucket"),
            (&["storage", "s3", "rootdir"], "storage.s3.rootdirectory"),
            (&["proxy", "remoteurls"], "proxy.remoteurl"),
            (&["strage"], "storage"),
        ];
        for (path, nearest) in cases {
            assert_eq!(keys.find(path), Key::Unknown(Some(nearest.to_owned())), "{path:?}");
        }
        assert_eq!(keys.find(&["qqq"]), Key::Unknown(None));
    }

    #[test]
    fn sections_settings_and_exceptions_are_told_apart() {
        let keys = Keys::new();
        assert!(matches!(keys.find(&["storage", "s3"]), Key::Section(_)));
        assert!(matches!(keys.find(&["storage", "s3", "encrypt"]), Key::Setting(Value::Bool(false))));
        assert_eq!(keys.find(&["http", "headers", "x-frame-options"]), Key::Free);
        assert!(matches!(keys.find(&["storage", "cache", "blobdescriptor"]), Key::Ignored(_)));
        assert!(matches!(keys.find(&["auth", "silly", "realm"]), Key::Refused(_)));
    }
}
