//! Checks of access, of the secret, and of the files that pounce reads at start.

use std::sync::Arc;

use super::report::Report;
use crate::auth::Access;
use crate::config::{Config, Driver, Scheme, Secret};
use crate::http::{self, Tls};
use crate::oci::Action;
use crate::telemetry::check_log_file;

/// Checks the users or keys, the secret, the headers, the certificates, and the file of the access log.
pub(super) fn check(config: &Config, report: &mut Report) {
    access(config, report);
    secret(config, report);
    if let Err(name) = http::configured_headers(&config.http) {
        let why = format!("http.headers: {name} is not a header with a valid value");
        report.failed("http.headers", "http.headers", &why, "correct it, because pounce does not start with it");
    }
    match Tls::open(&config.http.tls) {
        Ok(None) => {}
        Ok(Some(_)) => report.passed("http.tls", "certificate and key fit"),
        Err(error) => report.failed("http.tls", "http.tls", &error.to_string(), "correct that file or setting"),
    }
    let (log, name) = (&config.log.accesslog, "log.accesslog.file");
    if let Some(path) = log.file.as_ref().filter(|_| !log.disabled) {
        match check_log_file(path) {
            Ok(()) => report.passed(name, "can be written"),
            Err(error) => {
                report.failed(name, name, &error.to_string(), "name a file in a folder that pounce may write");
            }
        }
    }
}

fn access(config: &Config, report: &mut Report) {
    const LINES: &str = "make the lines with `pounce htpasswd`, or `htpasswd -B`; mind what eats a $";
    let (auth, name) = (&config.auth, "auth");
    let htpasswd = &auth.htpasswd;
    let missing = htpasswd.path.as_ref().filter(|path| !path.exists());
    match (auth.scheme, missing) {
        (Scheme::Open, _) => {
            let listed = Action::list(auth.without_login());
            let message = format!("there is none: every client may {listed}");
            let is_open = auth.without_login().iter().any(|action| *action != Action::Pull);
            // An operator who lists the actions means them.
            if is_open && auth.anonymous.is_none() {
                let next = "make a user with `pounce htpasswd`, or list the actions of all clients in auth.anonymous";
                return report.warned(name, "auth.anonymous", &message, next);
            }
            report.passed(name, &message);
        }
        (Scheme::Htpasswd, Some(path)) if htpasswd.users.is_none() => {
            report.passed(name, &format!("{} will be made, with a user called docker", path.display()));
        }
        _ => {
            let (secret, hosts) = (Secret::from(String::new()), config.proxy.host_names());
            let access = match Access::open(auth, &secret, &hosts, None, &Arc::default(), None) {
                Ok(access) => access,
                Err(error) => {
                    return report.failed(name, "auth", &error.to_string(), "correct that file or setting");
                }
            };
            if access.users() == Some(0) {
                let why = "no user has a bcrypt hash, so that no client can log in";
                let next = "add one with `pounce htpasswd --file FILE USER`";
                return report.failed(name, "auth.htpasswd.path", why, next);
            }
            let unusable = access.unusable_lines();
            if !unusable.is_empty() {
                let why = format!("a hash is not bcrypt's, so that its user cannot log in: {}", unusable.join(", "));
                return report.warned(name, "auth.htpasswd", &why, LINES);
            }
            match access.users() {
                Some(users) => report.passed(name, &format!("users with passwords: {users}")),
                None if auth.scheme == Scheme::Oidc => report.passed(name, "users log in with tokens of auth.oidc"),
                None if auth.scheme == Scheme::BucketKeys => {
                    report.passed(name, "users log in with keys of the bucket");
                }
                None => report.passed(name, "the keys of tokens can be read"),
            }
        }
    }
}

/// A folder belongs to one process, which is no replica.
fn secret(config: &Config, report: &mut Report) {
    if config.http.secret.is_none() && config.storage.driver == Driver::S3 {
        let why =
            "it is not set, so that replicas cannot share uploads, tokens and signed URLs, and a restart ends them";
        report.warned("http.secret", "http.secret", why, "set REGISTRY_HTTP_SECRET=\"$(openssl rand -hex 32)\" on all");
    }
}
