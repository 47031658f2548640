//! Checks of the files that pounce reads at start.

use std::sync::Arc;

use super::report::Report;
use crate::auth::Access;
use crate::config::{Config, Scheme, Secret};
use crate::http::Tls;
use crate::oci::Action;
use crate::telemetry::check_log_file;

/// Checks the users or keys, the certificates, and the file of the access log.
pub(super) fn check(config: &Config, report: &mut Report) {
    let htpasswd = &config.auth.htpasswd;
    let missing = htpasswd.path.as_ref().filter(|path| !path.exists());
    match (config.auth.scheme, missing) {
        (Scheme::Open, _) => {
            let listed = Action::list(config.auth.without_login());
            report.passed("auth", &format!("there is none: every client may {listed}"));
        }
        (Scheme::Htpasswd, Some(path)) if htpasswd.users.is_none() => {
            let path = path.display();
            report.passed("auth", &format!("{path} will be made, with a user called docker"));
        }
        _ => {
            let (secret, hosts) = (Secret::from(String::new()), config.proxy.host_names());
            match Access::open(&config.auth, &secret, &hosts, &Arc::default()) {
                Ok(access) if access.users() == Some(0) => report.failed(
                    "auth",
                    "no user has a bcrypt hash: nobody can log in",
                    "make lines with `pounce htpasswd USER`; mind what eats a $",
                ),
                Ok(_) => report.passed("auth", "users or keys can be read"),
                Err(error) => report.failed("auth", &error.to_string(), "correct that file or setting"),
            }
        }
    }
    if config.http.secret.is_none() {
        println!("! http.secret is not set: replicas cannot share uploads and tokens");
    }
    match Tls::open(&config.http.tls) {
        Ok(None) => {}
        Ok(Some(_)) => report.passed("http.tls", "certificate and key fit"),
        Err(error) => report.failed("http.tls", &error.to_string(), "correct that file or setting"),
    }
    let log = &config.log.accesslog;
    if let Some(path) = log.file.as_ref().filter(|_| !log.disabled) {
        match check_log_file(path) {
            Ok(()) => report.passed("log.accesslog.file", "can be written"),
            Err(error) => {
                report.failed(
                    "log.accesslog.file",
                    &error.to_string(),
                    "name a file in a folder that pounce may write",
                );
            }
        }
    }
}
