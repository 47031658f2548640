//! `pounce check [FILE.yml]`: whether the settings work, and which are not the defaults.
//!
//! It tries everything that serving needs once, with the real bucket and the real upstreams, and removes what it wrote
//! to the bucket. The bucket and the upstreams are tried at once; a failure of one check keeps no other from running.

mod bucket;
mod distribution;
mod events;
mod files;
mod oidc;
mod report;
mod settings;
mod traces;
mod upstreams;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::print::{self, OutputError};
use super::runtime::{CommandResult, block_on, or_failure};
use crate::config::{Config, ConfigError, Environment, Loaded, Log, LogLevel};
use crate::{http, telemetry};

use report::{Marks, Report};
use settings::Setting;

/// How long all checks of the bucket may take. Measuring how chunks become a blob takes most of it: some 15 s over a
/// bucket that takes 10 MiB a second.
const BUCKET_TIMEOUT: Duration = Duration::from_mins(5);

const EXAMPLES: &str = "\
Examples:
  pounce check registry.yml          results, and the settings that are not the defaults
  pounce check --json | jq '.results[] | select(.status != \"ok\")'
  pounce check && pounce serve       starts only if all is well; `|| [ $? -eq 1 ]` lets warnings pass
  pounce check --for distribution    what to remove before registry:2 starts with this configuration

Exit status: 0 if all is well, 1 with warnings, 2 with failures or a wrong command line. With --alive: 0 if pounce
answers, 1 if not.

Each line begins with ok, warning or failed; on a terminal, unless NO_COLOR is set, with a symbol for it. The bucket has
5 minutes, and each upstream 20 seconds. --json prints {\"results\": [{name, status, message, setting, next}],
\"settings\": [{key, value, origin}]}: status is ok, warning or failure; setting and next are there unless it is ok;
origin is default, file, or the name of a variable. Secrets are masked.";

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration, as `serve` takes it
    file: Option<PathBuf>,
    /// Also print the settings that have their defaults
    #[arg(long)]
    all: bool,
    /// Print results and all settings as JSON
    #[arg(long, conflicts_with = "all")]
    json: bool,
    /// Try nothing, but list what another program, over the same bucket, does not start with
    #[arg(long = "for", value_name = "PROGRAM")]
    target: Option<Target>,
    /// Only ask the pounce that runs here whether it is alive, for a health check
    #[arg(long, conflicts_with_all = ["all", "json", "target"])]
    alive: bool,
}

/// A program that can take the bucket over.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Target {
    /// The program of the image `registry:2`
    Distribution,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Results, and the settings that are not defaults.
    Short,
    /// Results and all settings.
    All,
    /// The same as JSON.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let (file, environment) = (arguments.file.as_deref(), Environment::of_process());
    if arguments.alive {
        let config = Config::load(file, &environment)?.config;
        return block_on(alive(&config));
    }
    let output = match (arguments.all, arguments.json) {
        (_, true) => Output::Json,
        (true, false) => Output::All,
        (false, false) => Output::Short,
    };
    // Anything that keeps the checks from running is a failure, whose status is not that of a warning.
    let checked = match arguments.target {
        Some(Target::Distribution) => check_for_distribution(file, &environment, output),
        None => check(file, &environment, output),
    };
    or_failure(checked)
}

/// Checks a configuration, and prints the results.
///
/// # Errors
/// The system gives no threads, or standard output takes no more.
pub(super) fn check(file: Option<&Path>, environment: &Environment, output: Output) -> CommandResult {
    let loaded = match Config::load_all(file, environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let report = of_mistakes(&mistakes);
            show(&report, None, output)?;
            return Ok(report.exit_code());
        }
    };
    // This command's own lines replace the log's.
    telemetry::init_logs(&Log { level: LogLevel::Error, ..loaded.config.log.clone() })?;
    block_on(async {
        let report = of_loaded(&loaded, environment).await;
        show(&report, Some(&loaded), output)?;
        Ok(report.exit_code())
    })
}

fn check_for_distribution(file: Option<&Path>, environment: &Environment, output: Output) -> CommandResult {
    let loaded = Config::load_all(file, environment);
    let report = match &loaded {
        Ok(loaded) => distribution::check(loaded, environment),
        Err(mistakes) => of_mistakes(mistakes),
    };
    // The settings are printed where they were asked for: what to remove from them is the answer.
    show(&report, loaded.as_ref().ok().filter(|_| output != Output::Short), output)?;
    Ok(report.exit_code())
}

fn of_mistakes(mistakes: &[ConfigError]) -> Report {
    let mut report = Report::default();
    for mistake in mistakes {
        let setting = mistake.setting().unwrap_or("REGISTRY_CONFIGURATION_PATH");
        let next = "correct it, and check again: nothing else was tried; config/registry.yml shows every setting";
        report.failed("configuration", setting, &mistake.to_string(), next);
    }
    report
}

async fn of_loaded(loaded: &Loaded, environment: &Environment) -> Report {
    let config = &loaded.config;
    let mut report = Report::default();
    if loaded.notices.is_empty() {
        report.passed("configuration", "every setting is known, and its value can be used");
    }
    for notice in &loaded.notices {
        // A notice begins with the setting or the variable.
        let setting = notice.split([' ', ',', ':']).next().unwrap_or_default();
        report.warned("configuration", setting, notice, "take it out, or correct it");
    }
    files::check(config, &mut report);
    if std::io::stderr().is_terminal() {
        print::note("trying the bucket and the upstreams …");
    }
    let mut bucket = Report::default();
    let tried = async {
        if tokio::time::timeout(BUCKET_TIMEOUT, bucket::check(config, &mut bucket)).await.is_err() {
            let next = "look at the network between this machine and the bucket, and for _check/ in the bucket";
            bucket.failed("bucket", "storage", "the checks did not end within 5 minutes", next);
        }
    };
    let others = async { tokio::join!(upstreams::check(config), oidc::check(config), events::check(config)) };
    let ((), (upstreams, oidc, events), traces) = tokio::join!(tried, others, traces::check(environment));
    for part in [bucket, upstreams, oidc, events, traces] {
        report.append(part);
    }
    report
}

/// The whole output as JSON.
#[derive(Serialize)]
struct Document<'a> {
    results: &'a Report,
    settings: Vec<Setting>,
}

fn show(report: &Report, loaded: Option<&Loaded>, output: Output) -> Result<(), OutputError> {
    let text = if output == Output::Json {
        let settings = loaded.map(settings::list).unwrap_or_default();
        let json = serde_json::to_string_pretty(&Document { results: report, settings });
        json.unwrap_or_else(|error| unreachable!("it is plain data: {error}")) + "\n"
    } else {
        let settings = loaded.map(|loaded| settings::text(loaded, output == Output::All));
        report.lines(marks()) + &settings.unwrap_or_default()
    };
    print::result(text).map(drop)
}

/// Symbols on a terminal, unless `NO_COLOR` asks for plain text or the terminal shows nothing else.
fn marks() -> Marks {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    if std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb { Marks::Symbols } else { Marks::Words }
}

async fn alive(config: &Config) -> CommandResult {
    let asked = http::probe_liveness(&config.http).await;
    asked.map_err(|why| format!("http.addr: {}: {why}", config.http.addr.to_reach()))?;
    Ok(ExitCode::SUCCESS)
}
