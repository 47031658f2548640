//! `pounce clients URL [CLIENT]`: the configuration with which a node pulls through the registry at a URL.
//!
//! It runs on the node, which knows nothing but the URL: the registry itself says for which upstreams it answers
//! (`http::UpstreamList`), or `--upstream` does. Standard output has the files, or the changes; standard error has the
//! notes.

mod ask;
mod containerd;
mod containers;
mod docker;
mod json_object;
mod k3s;
mod plan;
mod redact;
mod registry_url;
mod setup;
mod talos;
mod target;
mod tree;
mod undo;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print::OutputError;
use super::runtime::{CommandResult, block_on};
use super::{password, print};
use crate::config::UpstreamHost;
use crate::{auth, bounded_file};

use ask::{Login, Said};
use plan::{Draft, File, Plan};
use redact::diff;
use registry_url::RegistryUrl;
use setup::Setup;
use target::Target;
use tree::Tree;

/// The largest file with CAs, in bytes.
const MAX_CA: u64 = 1 << 20;

/// The arguments of `clients`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pounce clients https://registry.example.com\n  \
                        pounce clients https://registry.example.com containerd --write\n  pounce clients --undo")]
pub(super) struct Arguments {
    /// The registry's URL, as `https://registry.example.com` or `http://10.0.0.7:5000`
    #[arg(required_unless_present = "undo")]
    url: Option<String>,
    /// The client; without one, those whose directories are in /etc here, or all
    client: Option<Target>,
    /// An upstream's host, as ghcr.io; repeat it for several [default: those from which the registry lets you pull]
    #[arg(long, value_name = "HOST")]
    upstream: Vec<UpstreamHost>,
    /// The CA of the registry's certificate, if it is your own: a PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Ask for the upstreams as this user; the password is typed, or comes from standard input. It is written nowhere
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Write the files. What was there is kept beside them, for `--undo`
    #[arg(long, conflicts_with = "undo")]
    write: bool,
    /// Bring back what was there before `--write`
    #[arg(long)]
    undo: bool,
    /// The directory that is the node's /
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    root: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let tree = Tree::open(&arguments.root)?;
    if arguments.undo {
        return undo(arguments, &tree);
    }
    let registry: RegistryUrl = arguments.url.as_deref().unwrap_or_default().parse()?;
    if registry.is_scheme_assumed() {
        print::note(format_args!("The URL has no scheme: taken for {registry}"));
    }
    let ca = arguments.ca.as_deref().map(read_ca).transpose()?;
    if ca.is_some() && registry.is_plain() {
        return Err("--ca is for https, and the URL is http".into());
    }
    if registry.is_in_clear() {
        if arguments.user.is_some() {
            return Err(format!(
                "--user would send the password to {registry} in the clear: write its https URL, or leave --user out, \
                 and name the upstreams by --upstream HOST"
            )
            .into());
        }
        print::note(format_args!(
            "{registry} is not encrypted: a machine on the way can change what it says, the upstreams below among it, \
             and every image that is pulled by tag. Use https, or check the list"
        ));
    }
    let found = Target::found(&tree);
    let targets = match arguments.client {
        Some(target) => vec![target],
        None if !found.is_empty() => found,
        None if arguments.write => {
            let root = arguments.root.display();
            return Err(
                format!("{root}: no client's directory is in its etc: name one, as in `… docker --write`").into()
            );
        }
        None => Target::ALL.to_vec(),
    };
    if let Some(user) = &arguments.user {
        auth::check_user(user)?;
    }
    let password = arguments.user.as_ref().map(|_| password::entered("Password: ")).transpose()?;
    let login = arguments.user.as_deref().zip(password.as_deref());
    let login = login.map(|(user, password)| Login { user, password });
    block_on(async {
        let said = match ask::ask(&registry, ca.as_deref(), login).await {
            Ok(said) => said,
            // What is only printed may be for a registry that does not run yet.
            Err(error) if !arguments.write && !arguments.upstream.is_empty() => {
                print::note(format_args!("Not tried: {error}"));
                Said::default()
            }
            Err(error) => return Err(error.into()),
        };
        let setup = Setup::new(registry, ca, said, &arguments.upstream)?;
        let mut draft = Draft::new(setup.notes.clone(), arguments.write.then_some(&tree));
        for target in &targets {
            target.plan(&setup, &mut draft)?;
        }
        if arguments.write { write(&draft.plan, &tree) } else { show(&draft.plan) }
    })
}

fn show(plan: &Plan) -> CommandResult {
    for file in &plan.files {
        print::result(format_args!("# {}\n{}\n", file.path, file.text))?;
    }
    rest(plan)?;
    Ok(ExitCode::SUCCESS)
}

fn write(plan: &Plan, tree: &Tree) -> CommandResult {
    let changed = |file: &&File| file.before.as_deref() != Some(&file.text);
    let changed: Vec<&File> = plan.files.iter().filter(changed).collect();
    for file in &changed {
        print::result(diff(&file.path, file.before.as_deref(), Some(&file.text)))?;
    }
    for file in &changed {
        tree.write(&file.path, &file.text).map_err(|error| {
            format!("{error}. Files before it may be written: `pounce clients --undo` brings back what was there")
        })?;
    }
    rest(plan)?;
    if changed.is_empty() {
        print::note("There is nothing to change.");
    }
    commands(changed.iter().map(|file| file.path.as_str()), false);
    Ok(if plan.left_out { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints what is no file, and the notes.
fn rest(plan: &Plan) -> Result<(), OutputError> {
    for (title, text) in &plan.printed {
        print::result(format_args!("# {title}\n{text}\n"))?;
    }
    plan.notes.iter().for_each(print::note);
    Ok(())
}

/// With `--undo`, the URL has no use, and what stands in its place may be the client.
fn undo(arguments: &Arguments, tree: &Tree) -> CommandResult {
    let in_place = arguments.url.as_deref().and_then(|url| <Target as clap::ValueEnum>::from_str(url, true).ok());
    let targets = arguments.client.or(in_place).map_or_else(|| Target::ALL.to_vec(), |target| vec![target]);
    let changes = undo::changes(tree, &targets)?;
    for change in &changes {
        print::result(diff(&change.path, change.now.as_deref(), change.before.as_deref()))?;
    }
    undo::apply(tree, &changes)?;
    if changes.is_empty() {
        print::note("There is nothing to bring back.");
    }
    commands(changes.iter().map(|change| change.path.as_str()), true);
    Ok(ExitCode::SUCCESS)
}

/// Says by which commands clients read the files that changed.
fn commands<'a>(paths: impl Iterator<Item = &'a str>, is_undone: bool) {
    let commands: BTreeSet<_> = paths.filter_map(|path| Target::command_for(path, is_undone)).collect();
    for command in commands {
        print::note(format_args!("Now: {command}"));
    }
}

/// The certificates of a file that nodes get.
fn read_ca(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = bounded_file::read_text(path, MAX_CA).map_err(|error| format!("--ca: {shown}: {error}"))?;
    if text.contains("PRIVATE KEY") {
        return Err(format!(
            "--ca: {shown}: there is a private key in it, which nodes must not get: name one with certificates alone"
        ));
    }
    Ok(text)
}
