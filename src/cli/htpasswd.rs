//! `pounce htpasswd USER`: a line for `auth.htpasswd.users`, or a user in the file of `auth.htpasswd.path`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::password::{self, PasswordSource};
use super::print;
use super::runtime::CommandResult;
use crate::auth::{self, UserChange};

/// The mode of a new file: its group, to which the server belongs, may read it.
const MODE: u32 = 0o640;

const EXAMPLES: &str = "\
Examples:
  pounce htpasswd admin                               asks for a password, and prints admin:$2b$10$...
  pounce htpasswd --file /etc/pounce/htpasswd admin   adds admin there, or changes the password
  pounce htpasswd --file /etc/pounce/htpasswd --delete admin
  pass show registry | pounce htpasswd --stdin --file users ci
  fly secrets set REGISTRY_AUTH_HTPASSWD_USERS_CI=\"$(pounce htpasswd --generate ci)\"

A running pounce reads the file of auth.htpasswd.path again within a second of a change. Lines in
REGISTRY_AUTH_HTPASSWD_USERS, and in variables whose names begin with it and an underscore, count from
its next start on.";

/// The arguments of `htpasswd`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The user's name: up to 255 bytes, without colons, commas and blanks
    user: String,
    /// Add the user to this file, or change the password there; it keeps its mode, its owner and all other lines. A new
    /// file has the mode 0640
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Remove the user from the file
    #[arg(long, requires = "file", conflicts_with_all = ["stdin", "generate", "cost"])]
    delete: bool,
    /// Read the password from the first line of standard input, as happens where that is no terminal
    #[arg(long, conflicts_with = "generate")]
    stdin: bool,
    /// The cost of a comparison, 4 to 15: each step doubles it, and 10 takes some 50 ms
    #[arg(
        short,
        long,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(4..=15)
    )]
    cost: u32,
    /// Generate a password, and print it on standard error
    #[arg(short, long)]
    generate: bool,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let user = &arguments.user;
    if let (true, Some(file)) = (arguments.delete, &arguments.file) {
        report(auth::remove_user(file, user)?, user, file);
        return Ok(ExitCode::SUCCESS);
    }
    // Before a password is typed in vain.
    auth::check_user(user)?;
    let source = match (arguments.generate, arguments.stdin) {
        (true, _) => PasswordSource::Generated,
        (false, true) => PasswordSource::Stdin,
        (false, false) => PasswordSource::Typed,
    };
    let line = auth::htpasswd_line(user, &password::read(user, source)?, arguments.cost)?;
    if let Some(file) = &arguments.file {
        report(auth::set_user(file, user, &line, MODE)?, user, file);
        return Ok(ExitCode::SUCCESS);
    }
    print::result(format_args!("{line}\n"))?;
    // A script reads the line, and a log needs no advice.
    if std::io::stdout().is_terminal() {
        print::note(
            "next: put this line, in single quotes because of the $, into REGISTRY_AUTH_HTPASSWD_USERS (auth.htpasswd.users), \
             or a further user's into REGISTRY_AUTH_HTPASSWD_USERS_<NAME>, and start pounce anew",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what was done, and what to do next.
fn report(change: UserChange, user: &str, file: &Path) {
    let full = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let shown = full.display();
    print::say(match change {
        UserChange::Added => format!("added {user} to {shown}"),
        UserChange::Changed => format!("changed the password of {user} in {shown}"),
        UserChange::Removed { left: 0 } => {
            format!("removed {user} from {shown}, in which no user is left: no client can log in")
        }
        UserChange::Removed { .. } => format!("removed {user} from {shown}"),
    });
    print::say(format_args!(
        "next: nothing, if auth.htpasswd.path (REGISTRY_AUTH_HTPASSWD_PATH) names this file: a running pounce reads it \
         again within a second; otherwise set it to {shown}"
    ));
}
