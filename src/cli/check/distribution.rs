//! `--for distribution`: the settings with which distribution, the program of `registry:2`, does not start.
//!
//! distribution ignores keys that it does not know, with two exceptions: every key below `storage` and `auth` is the
//! name of a driver or of a scheme, of which there may be one; and some sections have to be whole.
//! `tests/interop/switching.sh` holds the answers against the starts of distribution 2.8.

use std::collections::BTreeSet;

use super::report::Report;
use crate::config::{Config, Driver, Environment, Form, Loaded, Origin, Scheme, Written};

/// The keys below `storage` that are no drivers (in 2.8; version 3 also has `tag`).
const FEATURES: [&str; 4] = ["cache", "delete", "maintenance", "redirect"];
/// pounce's own settings that distribution passes over, and those below them.
const IGNORED: [&str; 22] = [
    "auth.htpasswd.users",
    "http.debug.prometheus.names",
    "http.forwardedfor",
    "http.forwardedhost",
    "http.forwardedproto",
    "http.limits",
    "http.trustedproxies",
    "log.accesslog.file",
    "log.accesslog.format",
    "notifications.events.blobpulls",
    "notifications.events.format",
    "proxy.fill",
    "proxy.host",
    "proxy.onmiss",
    "proxy.prefetch",
    "proxy.spool",
    "proxy.tagttl",
    "proxy.upstreams",
    "storage.redirect.exclude",
    "storage.redirect.expiry",
    "storage.redirect.minage",
    "storage.s3.tigris",
];
/// The driver of a variable replaces the whole section of the file.
const STORAGE: &str = "REGISTRY_STORAGE";
/// The same for the scheme.
const AUTH: &str = "REGISTRY_AUTH";
/// podman's file of credentials, which distribution takes for a scheme of the name `file`.
const PODMAN: &str = "REGISTRY_AUTH_FILE";

/// What to change before distribution starts with this configuration.
pub(super) fn check(loaded: &Loaded, environment: &Environment) -> Report {
    let is_replaced = |it: &&Written| {
        let is_in = |section: &str| it.path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let replaces = |section: &str, variable: &str| is_in(section) && environment.get(variable).is_some();
        it.origin == Origin::File && (replaces("storage", STORAGE) || replaces("auth", AUTH))
    };
    let written = loaded.written.iter().filter(|it| !is_replaced(it)).collect();
    let mut switch = Switch { loaded, environment, written, report: Report::default(), failures: 0 };
    switch.version();
    switch.drivers();
    switch.redirects();
    switch.maintenance();
    switch.access();
    switch.lists();
    switch.ignored();
    switch.report
}

struct Switch<'a> {
    loaded: &'a Loaded,
    environment: &'a Environment,
    /// The settings that distribution reads.
    written: Vec<&'a Written>,
    report: Report,
    failures: usize,
}

impl<'a> Switch<'a> {
    const fn config(&self) -> &'a Config {
        &self.loaded.config
    }

    fn failed(&mut self, setting: &str, why: &str, next: &str) {
        self.failures += 1;
        self.report.failed("distribution", setting, &format!("{setting}: {why}"), next);
    }

    /// The setting at `path`, and all below it.
    fn at(&self, path: &str) -> impl Iterator<Item = &'a Written> {
        let found = self.written.iter().filter(|it| is_at(&it.path, path));
        found.copied().collect::<Vec<_>>().into_iter()
    }

    /// Whether a setting has a value.
    fn is_set(&self, path: &str) -> bool {
        self.at(path).any(|it| it.form != Form::Null)
    }

    /// The keys of a section.
    fn keys(&self, section: &str) -> BTreeSet<&'a str> {
        let below = self.at(section).filter_map(|it| it.path.get(section.len() + 1..));
        below.filter_map(|rest| rest.split('.').next()).collect()
    }

    /// The setting as the operator wrote it: its path in the file, and its variables.
    fn spelled(&self, path: &str) -> String {
        let mut names: Vec<&str> = Vec::new();
        for it in self.at(path) {
            let name = match &it.origin {
                Origin::Variable(name) => name,
                Origin::File | Origin::Default => path,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    fn version(&mut self) {
        if self.loaded.file.is_some() && !self.is_set("version") {
            let why = "a file of distribution begins with its version";
            self.failed("version", why, "write `version: 0.1` into the first line");
        }
    }

    fn drivers(&mut self) {
        let (storage, is_named) = (&self.config().storage, self.environment.get(STORAGE).is_some());
        let driver = match storage.driver {
            Driver::S3 => "s3",
            Driver::Filesystem => "filesystem",
        };
        let mut drivers = self.keys("storage");
        drivers.retain(|key| !FEATURES.contains(key));
        // The short form, `storage: filesystem`, is a section without settings.
        let is_short = self.written.iter().any(|it| it.path == "storage");
        // The image has a file, which names a folder.
        let has_file_of_image = self.loaded.file.is_none() && !is_named;
        if drivers.is_empty() && !is_named && !is_short && !has_file_of_image && driver == "filesystem" {
            let folder = storage.filesystem.rootdirectory.display();
            let next = format!("write {folder} into storage.filesystem.rootdirectory");
            return self.failed("storage", "distribution has no default", &next);
        }
        if driver == "s3" {
            self.adopted();
            if has_file_of_image {
                let why = "the file in distribution's image names a folder, and there may be one driver";
                self.failed(STORAGE, why, "set REGISTRY_STORAGE=s3");
            }
        }
        for other in drivers.into_iter().filter(|other| *other != driver) {
            let spelled = self.spelled(&format!("storage.{other}"));
            let why = format!("distribution takes one driver, and storage.{driver} is used");
            self.failed(&spelled, &why, "remove it");
        }
    }

    /// What Fly sets, which distribution does not read. The keys' variables are read by its SDK, too.
    fn adopted(&mut self) {
        let s3 = &self.config().storage.s3;
        let settings = [("bucket", &s3.bucket), ("region", &s3.region), ("regionendpoint", &s3.regionendpoint)];
        for (key, value) in settings {
            let path = format!("storage.s3.{key}");
            if let (Origin::Variable(name), Some(value)) = (self.loaded.origins.of(&path), value)
                && !name.starts_with("REGISTRY_")
            {
                let next = format!("set REGISTRY_STORAGE_S3_{}={value}", key.to_ascii_uppercase());
                self.failed(&name, "distribution does not read it", &next);
            }
        }
    }

    fn redirects(&mut self) {
        if self.at("storage.redirect").next().is_some() && !self.is_set("storage.redirect.disable") {
            let why = "distribution has no redirect without `disable`";
            let next = "remove it, or set storage.redirect.disable to false as well";
            self.failed(&self.spelled("storage.redirect"), why, next);
        }
    }

    fn maintenance(&mut self) {
        for (key, section) in [("uploadpurging", "UPLOADPURGING"), ("readonly", "READONLY")] {
            let path = format!("storage.maintenance.{key}");
            let prefix = format!("REGISTRY_STORAGE_MAINTENANCE_{section}_");
            let by_variable = |it: &Written| matches!(&it.origin, Origin::Variable(name) if name.starts_with(&prefix));
            if self.at(&path).any(by_variable) {
                let why = "distribution cannot read single settings of this section from variables";
                let next = format!("write the section into the file, or as YAML into {}", prefix.trim_end_matches('_'));
                self.failed(&self.spelled(&path), why, &next);
                continue;
            }
            let is_empty = self.at(&path).any(|it| it.path == path);
            let lacks = |key: &&str| !self.is_set(&format!("{path}.{key}"));
            let missing: Vec<&str> = match key {
                _ if self.at(&path).next().is_none() => continue,
                "readonly" if is_empty || lacks(&"enabled") && self.keys(&path).contains("enabled") => vec!["enabled"],
                "readonly" => Vec::new(),
                _ if !self.config().storage.maintenance.uploadpurging.enabled => Vec::new(),
                _ => ["age", "interval", "dryrun"].into_iter().filter(lacks).collect(),
            };
            if !missing.is_empty() {
                let why = format!("distribution takes the section as a whole, and finds no {}", missing.join(", "));
                self.failed(&self.spelled(&path), &why, "add what is missing, or remove the section");
            }
        }
    }

    fn access(&mut self) {
        if self.environment.get(PODMAN).is_some() {
            let why = "distribution takes it for a setting";
            self.failed(PODMAN, why, "start distribution without this variable of podman's");
        }
        let (scheme, needed): (_, &[_]) = match self.config().auth.scheme {
            Scheme::Open | Scheme::Oidc | Scheme::BucketKeys => ("none", &[]),
            Scheme::Htpasswd => ("htpasswd", &["realm", "path"]),
            Scheme::Token => ("token", &["realm", "issuer", "service", "rootcertbundle"]),
        };
        for other in self.keys("auth").into_iter().filter(|other| *other != scheme) {
            let spelled = self.spelled(&format!("auth.{other}"));
            let next = match other {
                "rules" => "remove it; every user may then do everything",
                "anonymous" | "oidc" | "bucketkeys" if scheme == "none" => {
                    "remove it; without a scheme every client may then do everything"
                }
                _ => "remove it",
            };
            self.failed(
                &spelled,
                "distribution knows one section of htpasswd and token in auth, and nothing else",
                next,
            );
        }
        for key in needed {
            let path = format!("auth.{scheme}.{key}");
            if self.is_set(&path) {
                continue;
            }
            let next = match (scheme, *key) {
                ("htpasswd", "path") => "write the lines of auth.htpasswd.users into a file, and name the file there",
                ("token", "rootcertbundle") => "name a file with the certificates there; version 3 also takes jwks",
                _ => "set it",
            };
            self.failed(&path, "distribution does not start without it", next);
        }
    }

    /// distribution takes no single value for a list.
    fn lists(&mut self) {
        let lists = ["http.headers", "http.tls.clientcas"].into_iter().flat_map(|path| self.at(path));
        let of_events = ["headers", "ignoredmediatypes", "ignore"];
        let of_events = self.at("notifications.endpoints").filter(|it| {
            // `notifications.endpoints.0.headers.Authorization`
            it.path.split('.').nth(3).is_some_and(|key| of_events.contains(&key))
        });
        let lists = lists.chain(of_events);
        let single: Vec<_> = lists.filter(|it| it.form == Form::Scalar).collect();
        for it in single {
            let spelled = self.spelled(&it.path);
            self.failed(&spelled, "distribution takes a list only", "write the value in brackets, as in [nosniff]");
        }
    }

    fn ignored(&mut self) {
        let ignored: Vec<_> = IGNORED.iter().map(|path| self.spelled(path)).filter(|name| !name.is_empty()).collect();
        if !ignored.is_empty() {
            self.report.passed("ignored", &format!("distribution passes these over: {}", ignored.join(", ")));
        }
        if self.failures == 0 {
            let which = "distribution starts with this configuration; docs/switching.md says what it does differently";
            self.report.passed("distribution", which);
        }
    }
}

fn is_at(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
