//! `pages FOLDER DATE`: writes man pages into `FOLDER/man1`, and completions of bash, zsh and fish into
//! `FOLDER/completions`, from the definition of the command line.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::{env, iter, process};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

fn main() -> io::Result<()> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let [folder, date] = &arguments[..] else {
        writeln!(io::stderr(), "usage: pages FOLDER DATE")?;
        process::exit(2);
    };
    let folder = Path::new(folder);
    let mut command = pounce::cli::Arguments::command().disable_help_subcommand(true);
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "pounce", &completions)?;
    }
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    // Gives subcommands the names of their pages.
    command.build();
    for described in iter::once(&command).chain(command.get_subcommands()) {
        let version = format!("pounce {}", command.get_version().unwrap_or_default());
        write_page(described, &Man::new(described.clone()).source(version).date(date.to_string_lossy()), &pages)?;
    }
    Ok(())
}

/// Writes the page of one command. What stands below its options in `--help` gets sections of its own.
fn write_page(command: &Command, page: &Man, folder: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(help) = command.get_after_help() {
        after_help(&help.to_string()).to_writer(&mut text)?;
    }
    // The crate writes a backslash as `\\\\`, which is not one for every reader of pages.
    let text = String::from_utf8_lossy(&text).replace(r"\\", r"\e");
    fs::write(folder.join(page.get_filename()), text)
}

/// The examples, the notes and the exit status. Indented lines stay as they are.
fn after_help(text: &str) -> Roff {
    let mut page = Roff::new();
    for paragraph in text.replace("Exit status: ", "\n\nExit status:\n").split("\n\n") {
        match paragraph.lines().next().unwrap_or_default().trim() {
            "" => continue,
            "Examples:" => page.control("SH", ["EXAMPLES"]),
            "Exit status:" => page.control("SH", ["EXIT STATUS"]),
            _ if page == Roff::new() => page.control("SH", ["NOTES"]),
            _ => page.control("PP", []),
        };
        let is_heading = |line: &&str| matches!(line.trim(), "" | "Examples:" | "Exit status:");
        for line in paragraph.lines().filter(|line| !is_heading(line)) {
            if line.starts_with(' ') {
                page.control("nf", []).text([roman(line)]).control("fi", []);
            } else {
                page.text([roman(line)]);
            }
        }
    }
    page
}
