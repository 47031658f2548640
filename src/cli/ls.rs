//! `pounce ls [REPOSITORY]`: what the bucket has, by its repositories, or by the images of one.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::bucket::open;
use super::image::ImageReference;
use super::print;
use super::runtime::{CommandResult, block_on, or_failure};
use super::table::{self, Column, minute, number, rfc3339, short, size, text};
use crate::oci::{MediaType, RepositoryName};
use crate::registry::{ImageEntry, PlatformEntry, RecentPulls, Registry, RepositoryEntry, Source};

const EXAMPLES: &str = "\
Examples:
  pounce ls                          every repository, a line each
  pounce ls library/alpine           its tags, platforms and sizes, and its manifests without a tag
  pounce ls ghcr.io/org/app --json | jq -r 'select(.tag != null) | \"\\(.size) \\(.tag)\"'

It reads the bucket of the configuration, beside servers or without one: a request for each 1,000 keys and one for each
repository; for the images of one, also a request for each tag, and two for each manifest. SIZE are the bytes that the
bucket has of an image, and OWN those that no other image of the repository has. PULLED is when a client last pulled it,
in the last 30 days, as far as that was recorded. --json prints an object a line.

Exit status: 0; 1 if a link or a manifest cannot be read, whose line says so, or if there is no such repository; 2 if
the bucket cannot be listed, or for a wrong command line.";

/// The columns of repositories. The name is the last one, because lines are printed as the bucket lists them.
const REPOSITORIES: [Column; 7] = [
    number("TAGS", 6),
    number("MANIFESTS", 9),
    number("BLOBS", 7),
    text("PULLED", 16),
    text("WRITTEN", 16),
    text("ORIGIN", 24),
    text("REPOSITORY", 0),
];

/// The arguments of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A repository, as `ls` prints it or as clients name it
    repository: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The configuration, as `serve` takes it
    #[arg(long, value_name = "FILE.yml")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    or_failure(block_on(async {
        let registry = open(arguments.config.as_deref()).await?;
        match &arguments.repository {
            None => repositories(&registry, arguments.json).await,
            Some(name) => images(&registry, name, arguments.json).await,
        }
    }))
}

async fn repositories(registry: &Registry, json: bool) -> CommandResult {
    let mut out = io::stdout();
    let mut code = ExitCode::SUCCESS;
    if !json {
        writeln!(out, "{}", table::titles(&REPOSITORIES))?;
    }
    let pulls = registry.inventory.pulls().await?;
    let mut entries = registry.inventory.repositories(&pulls);
    while let Some(entry) = entries.try_next().await? {
        if entry.error.is_some() {
            code = ExitCode::from(1);
        }
        let line = if json { of_repository(&entry).to_string() } else { line(&entry) };
        if writeln!(out, "{line}").is_err() {
            // Nothing reads it any more.
            break;
        }
    }
    note_pulls(&pulls, json);
    Ok(code)
}

/// Says how much PULLED knows, for people.
fn note_pulls(pulls: &RecentPulls, json: bool) {
    if !json && io::stderr().is_terminal() {
        print::note(format_args!("pulls are known since {} (UTC)", minute(Some(pulls.recorded_since()))));
    }
}

fn line(entry: &RepositoryEntry) -> String {
    let RepositoryEntry { name, tags, manifests, blobs, source, written, pulled, error } = entry;
    let name = match error {
        Some(error) => format!("{name}: {error}"),
        None => name.clone(),
    };
    let cells = [
        tags.to_string(),
        manifests.to_string(),
        blobs.to_string(),
        minute(*pulled),
        minute(*written),
        origin(source.as_ref()),
        name,
    ];
    table::line(&REPOSITORIES, &cells)
}

fn of_repository(entry: &RepositoryEntry) -> Value {
    let RepositoryEntry { name, tags, manifests, blobs, source, written, pulled, error } = entry;
    json!({
        "repository": name, "tags": tags, "manifests": manifests, "blobs": blobs,
        "pulled": rfc3339(*pulled), "written": rfc3339(*written),
        "origin": kind(source.as_ref()), "upstream": upstream(source.as_ref()), "error": error,
    })
}

async fn images(registry: &Registry, name: &str, json: bool) -> CommandResult {
    let (mut found, pulls) = (None, registry.inventory.pulls().await?);
    for name in spellings(registry, name)? {
        if let Some(entries) = registry.inventory.images(&name, &pulls).await? {
            found = Some(entries);
            break;
        }
    }
    let Some(entries) = found else {
        print::note(format_args!("pounce: the bucket has no repository {}", table::escaped(name)));
        return Ok(ExitCode::from(1));
    };
    let mut code = ExitCode::SUCCESS;
    if entries.iter().any(|entry| entry.error.is_some()) {
        code = ExitCode::from(1);
    }
    if json {
        for entry in &entries {
            // A closed output changes no result.
            let _ = writeln!(io::stdout(), "{}", of_image(entry));
        }
        return Ok(code);
    }
    let mut columns = [
        text("TAG", 0),
        text("PLATFORM", 0),
        number("SIZE", 0),
        number("OWN", 0),
        text("PULLED", 0),
        text("WRITTEN", 0),
        text("ORIGIN", 0),
        text("DIGEST", 0),
    ];
    let lines = table::lines(&mut columns, &entries.iter().flat_map(rows).collect::<Vec<_>>());
    for line in lines {
        // A closed output changes no result.
        let _ = writeln!(io::stdout(), "{line}");
    }
    Ok(code)
}

/// The repositories that a name may mean: the one of this name in the bucket, and the one that clients mean by it.
fn spellings(registry: &Registry, name: &str) -> Result<Vec<RepositoryName>, String> {
    let own = name.parse::<RepositoryName>();
    let image = name.parse::<ImageReference>().ok();
    let meant =
        image.and_then(|image| registry.repositories.resolve_reference(&image.name, image.host.as_deref()).ok());
    let why = own.as_ref().err().map(ToString::to_string);
    let names: Vec<_> = own.into_iter().chain(meant).collect();
    match why {
        Some(why) if names.is_empty() => Err(format!("{}: {why}", table::escaped(name))),
        _ => Ok(names),
    }
}

/// An image, and below it the images of an index.
fn rows(entry: &ImageEntry) -> Vec<Vec<String>> {
    let ImageEntry { tag, digest, media_type, source, written, size: all, own, pulled, platforms, error } = entry;
    let is_index = media_type.as_ref().is_some_and(MediaType::is_index);
    let platform = match (is_index, &platforms[..]) {
        (true, _) => "index".to_owned(),
        (false, [only]) => named(only),
        _ => "-".to_owned(),
    };
    let digest = match (digest, error) {
        (digest, Some(error)) => {
            format!("{}{error}", digest.map(|it| format!("{}: ", short(&it.to_string()))).unwrap_or_default())
        }
        (Some(digest), None) => short(&digest.to_string()),
        (None, None) => String::new(),
    };
    let tag = tag.clone().unwrap_or_else(|| "<none>".to_owned());
    let mut rows = vec![vec![
        tag,
        platform,
        size(*all),
        size(*own),
        minute(*pulled),
        minute(*written),
        origin(source.as_ref()),
        digest,
    ]];
    if is_index {
        rows.extend(platforms.iter().map(|it| {
            let stored = if it.is_stored { size(it.size) } else { "absent".to_owned() };
            let empty = String::new;
            vec![
                empty(),
                format!("  {}", named(it)),
                stored,
                empty(),
                empty(),
                empty(),
                empty(),
                short(&it.digest.to_string()),
            ]
        }));
    }
    rows
}

fn named(platform: &PlatformEntry) -> String {
    platform.platform.clone().unwrap_or_else(|| "-".to_owned())
}

fn of_image(entry: &ImageEntry) -> Value {
    let ImageEntry { tag, digest, media_type, source, written, pulled, size, own, platforms, error } = entry;
    let platform = |it: &PlatformEntry| json!({"platform": it.platform, "digest": it.digest, "size": it.size, "stored": it.is_stored});
    let platforms: Vec<_> = platforms.iter().map(platform).collect();
    json!({
        "tag": tag, "digest": digest, "mediaType": media_type.as_ref().map(ToString::to_string), "size": size, "own": own,
        "pulled": rfc3339(*pulled), "written": rfc3339(*written), "origin": kind(source.as_ref()), "upstream": upstream(source.as_ref()),
        "platforms": platforms, "error": error,
    })
}

fn kind(source: Option<&Source>) -> Option<&'static str> {
    source.map(|source| if *source == Source::Push { "push" } else { "upstream" })
}

fn upstream(source: Option<&Source>) -> Option<&str> {
    match source? {
        Source::Push => None,
        Source::Upstream(label) => Some(label.as_str()).filter(|label| !label.is_empty()),
    }
}

fn origin(source: Option<&Source>) -> String {
    let known = upstream(source).map(|label| label.trim_start_matches("https://")).or(kind(source));
    known.unwrap_or("-").to_owned()
}
