//! `pounce check [FILE.yml]`: what is configured and where that comes from, and whether it works.
//!
//! Everything that serving needs is tried once against the real bucket and the real upstreams. What is written to the
//! bucket is taken away again.

mod bucket;
mod report;
mod upstreams;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{fail, on_runtime};
use crate::auth::Access;
use crate::config::{Config, Driver, Environment, Loaded, LogLevel, Origin, Scheme, Secret};
use crate::http::{self, Tls};
use crate::oci::Action;
use crate::telemetry;

use report::Report;

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration, as `serve` takes it
    file: Option<PathBuf>,
    /// Only ask the pounce that runs here whether it is alive, for a health check
    #[arg(long)]
    alive: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = Config::load(arguments.file.as_deref(), &Environment::of_process());
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    if arguments.alive {
        return on_runtime(alive(&loaded.config));
    }
    let mut log = loaded.config.log.clone();
    // What goes wrong is told by this command's own lines.
    log.level = LogLevel::Error;
    telemetry::init_logs(&log);
    on_runtime(async {
        let mut report = Report::default();
        settings(&loaded);
        let config = &loaded.config;
        println!();
        files(config, &mut report);
        bucket::check(config, &mut report).await;
        upstreams::check(config, &mut report).await;
        report.end()
    })
}

async fn alive(config: &Config) -> ExitCode {
    match http::probe_liveness(&config.http).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pounce: http.addr: {}: {why}", config.http.addr.to_reach());
            ExitCode::FAILURE
        }
    }
}

/// Every setting, its value, and where it comes from.
fn settings(loaded: &Loaded) {
    let chosen = match loaded.config.storage.driver {
        Driver::S3 => "s3",
        Driver::Filesystem => "filesystem",
    };
    let scheme = match loaded.config.auth.scheme {
        Scheme::Open => "none",
        Scheme::Htpasswd => "htpasswd",
        Scheme::Token => "token",
    };
    println!("storage: {chosen}\nauth: {scheme}\n");
    for (path, value, origin) in loaded.settings() {
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File => "file".to_owned(),
            Origin::Variable(name) => name,
        };
        println!("{:<58} {origin}", format!("{path}: {value}"));
    }
    for notice in &loaded.notices {
        println!("! {notice}");
    }
}

/// What is read at start.
fn files(config: &Config, report: &mut Report) {
    let htpasswd = &config.auth.htpasswd;
    let missing = htpasswd.path.as_ref().filter(|path| !path.exists());
    match (config.auth.scheme, missing) {
        (Scheme::Open, _) => {
            let listed = Action::list(config.auth.without_login());
            report.right("auth", &format!("there is none: every client may {listed}"));
        }
        (Scheme::Htpasswd, Some(path)) if htpasswd.users.is_none() => {
            let path = path.display();
            report.right("auth", &format!("{path} will be made, with a user called docker"));
        }
        _ => {
            match Access::open(&config.auth, &Secret::from(String::new()), &config.proxy.host_names(), &Arc::default())
            {
                Ok(access) if access.users() == Some(0) => report.wrong(
                    "auth",
                    "no user has a bcrypt hash: nobody can log in",
                    "make lines with `pounce htpasswd USER`; mind what eats a $",
                ),
                Ok(_) => report.right("auth", "users or keys can be read"),
                Err(error) => report.wrong("auth", &error.to_string(), "mend that file or setting"),
            }
        }
    }
    if config.http.secret.is_none() {
        println!("! http.secret is not set: replicas cannot share uploads and tokens");
    }
    match Tls::open(&config.http.tls) {
        Ok(None) => {}
        Ok(Some(_)) => report.right("http.tls", "certificate and key fit"),
        Err(error) => report.wrong("http.tls", &error.to_string(), "mend that file or setting"),
    }
}
