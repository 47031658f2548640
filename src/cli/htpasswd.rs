//! `pounce htpasswd USER`: a line for `auth.htpasswd`.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use super::runtime::CommandResult;
use crate::auth::{self, UserError};

/// The arguments of `htpasswd`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The user's name
    user: String,
    /// The cost of a comparison: each step doubles it; 10 takes some 50 ms
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

/// The longest input that is read as a password, in bytes; bcrypt takes 72.
const MAX_INPUT: u64 = 1024;

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    // Before a password is typed in vain.
    auth::check_user(&arguments.user)?;
    let password = if arguments.generate {
        let password = auth::random_password()?;
        eprintln!("password of {}: {password}", arguments.user);
        password
    } else if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        if password != rpassword::prompt_password("Again: ")? {
            return Err(Box::new(UserError::Differs));
        }
        password
    } else {
        let mut text = String::new();
        std::io::stdin().take(MAX_INPUT).read_to_string(&mut text)?;
        // `echo` adds a newline.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    };
    println!("{}", auth::htpasswd_line(&arguments.user, &password, arguments.cost)?);
    Ok(ExitCode::SUCCESS)
}
