//! `pounce init`: a first configuration, from three questions or from flags.
//!
//! The text is loaded as `pounce serve` would load it before it is written, and checked as by `pounce check` afterwards.

mod answers;
mod arguments;
mod ask;
mod plan;
mod quote;
mod render;

use std::error::Error;
use std::fs::Permissions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::check::{self, Output};
use super::password::{self, PasswordSource};
use super::print;
use super::runtime::CommandResult;
use crate::auth;
use crate::config::{Config, Driver, Environment};

use plan::{Answers, Keys, Place};
use render::Secrets;

pub(super) use arguments::Arguments;

/// The mode of files with secrets: only their owner reads them.
const MODE: u32 = 0o600;
/// The cost of the first user's hash, as `pounce htpasswd` has it by default.
const COST: u32 = 10;

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let default = if arguments.env { ".env" } else { "registry.yml" };
    let output = arguments.output.clone().unwrap_or_else(|| default.into());
    if output.as_os_str() == "-" {
        return Err("--output names a file, because pounce checks what it wrote: standard output is none".into());
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| format!("--output: {}: {error}", folder.display()))?;
    // With --env, the user is in a variable.
    let users_file = (!arguments.env).then(|| folder.join("htpasswd"));
    refuse_existing(&output, arguments.force)?;
    let missing = answers::missing(arguments);
    let asks = !missing.is_empty();
    if asks && !std::io::stdin().is_terminal() {
        let missing = missing.join("; ");
        return Err(format!("standard input is no terminal, so that nothing can be asked: give {missing}").into());
    }
    let answers = answers::collect(arguments)?;
    let user = answers.visitors.user.as_deref();
    if let (Some(file), Some(_)) = (&users_file, user) {
        refuse_existing(file, arguments.force)?;
    }
    let line = user.map(|user| user_line(user, arguments, asks)).transpose()?;
    let secrets = Secrets { http: auth::random_password()?, user_line: line.clone() };
    let (text, environment) = rendered(&answers, &secrets, users_file.as_deref())?;
    if let (Some(file), Some(user), Some(line)) = (&users_file, user, &line) {
        auth::set_user(file, user, line, MODE)?;
        print::say(format_args!("wrote {}, with the user {user}", file.display()));
    }
    write(&output, &text, arguments.force)?;
    print::say(format_args!("wrote {}\n", output.display()));
    let file = (!arguments.env).then_some(output.as_path());
    let code = check::check(file, &environment, Output::Short)?;
    print_next(&output, arguments.env, code == ExitCode::from(2));
    Ok(code)
}

fn refuse_existing(path: &Path, force: bool) -> Result<(), String> {
    if path.symlink_metadata().is_ok() && !force {
        let path = path.display();
        return Err(format!("{path} is there already: --force replaces it, and --output names another file"));
    }
    Ok(())
}

/// The htpasswd line of the first user.
fn user_line(user: &str, arguments: &Arguments, asks: bool) -> Result<String, Box<dyn Error>> {
    let source = match (arguments.password_stdin, asks) {
        (true, _) => PasswordSource::Stdin,
        (false, true) => PasswordSource::TypedOrGenerated,
        (false, false) => PasswordSource::Generated,
    };
    Ok(auth::htpasswd_line(user, &password::read(user, source)?, COST)?)
}

/// The text of the file, and the environment in which it is checked.
///
/// # Errors
/// The configuration that it makes is not the one that was meant; an answer cannot be written.
fn rendered(
    answers: &Answers,
    secrets: &Secrets,
    users_file: Option<&Path>,
) -> Result<(String, Environment), Box<dyn Error>> {
    let process = Environment::of_process();
    let (text, config, environment) = if let Some(file) = users_file {
        let text = render::yaml(answers, secrets, file)?;
        let config = Config::parse(&text, &Environment::default())?.config;
        (text, config, process)
    } else {
        let pairs = render::variables(answers, secrets);
        let config = Config::parse("", &Environment::default().with(&pairs))?.config;
        (render::env(&pairs)?, config, process.with(&pairs))
    };
    if !is_meant(&config, answers) {
        return Err("an answer would be read differently from the file: choose other names".into());
    }
    Ok((text, environment))
}

/// Whether a configuration says what was answered.
fn is_meant(config: &Config, answers: &Answers) -> bool {
    let s3 = &config.storage.s3;
    let is_stored = match &answers.place {
        Place::Folder(folder) => {
            config.storage.driver == Driver::Filesystem && config.storage.filesystem.rootdirectory == Path::new(folder)
        }
        Place::Bucket { name, keys, .. } => {
            let secret = s3.secretkey.as_ref().map(|secret| secret.reveal().to_owned());
            let found = s3.accesskey.clone().zip(secret).map(|(access, secret)| Keys { access, secret });
            config.storage.driver == Driver::S3 && s3.bucket.as_ref() == Some(name) && found == *keys
        }
    };
    let upstreams = usize::from(config.proxy.remoteurl.is_some()) + config.proxy.upstreams.len();
    is_stored && upstreams == answers.upstreams.len() && config.http.secret.is_some()
}

/// Writes the file, which is whole or not there at all.
fn write(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let written = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".pounce-init-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(MODE))?;
        file.as_file().sync_all()?;
        let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
        persisted.map(drop).map_err(|error| error.error)
    };
    written().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

fn print_next(output: &Path, env: bool, failed: bool) {
    let shown = quote::shell(&output.display().to_string());
    let path = if output.parent().is_some_and(|folder| folder.as_os_str().is_empty()) && env {
        format!("./{shown}")
    } else {
        shown
    };
    let command = |command: &str| {
        if env { format!("(set -a; . {path}; pounce {command})") } else { format!("pounce {command} {path}") }
    };
    if failed {
        print::say(format_args!("\nnext, when what failed is mended: {}", command("check")));
    } else {
        print::say(format_args!("\nnext: {}", command("serve")));
    }
}
