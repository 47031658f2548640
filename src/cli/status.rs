//! `pounce status [URL]`: what a running pounce is doing, from its debug listener.

mod table;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::runtime::{CommandResult, block_on};
use crate::config::{Config, Environment};
use crate::http::Status;
use crate::upstream;

/// How often `--watch` asks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Moves to the top of a terminal, and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";
const PATH: &str = "/status";

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The debug listener, as in 10.0.0.7:5001, or its URL; without one, that of the configuration (http.debug.addr)
    url: Option<String>,
    /// Print again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print what the listener says, which is JSON
    #[arg(long)]
    json: bool,
    /// The configuration, as `serve` takes it
    #[arg(long, value_name = "FILE.yml", conflicts_with = "url")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let url = match &arguments.url {
        Some(text) => parse(text)?,
        None => configured(arguments)?,
    };
    block_on(async {
        loop {
            let shown = show(&url, arguments.json).await;
            match shown {
                Ok(text) => {
                    let clears = arguments.watch && !arguments.json && std::io::stdout().is_terminal();
                    let printed = print(if clears { CLEAR } else { "" }, &text);
                    // Nothing reads it any more.
                    if printed.is_err() || !arguments.watch {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Err(error) if arguments.watch => eprintln!("pounce: {error}"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// The debug listener that the configuration names.
fn configured(arguments: &Arguments) -> Result<Url, Box<dyn std::error::Error>> {
    let loaded = Config::load(arguments.config.as_deref(), &Environment::of_process())?;
    let addr = loaded.config.http.debug.addr.ok_or(
        "http.debug.addr is not set, so there is no listener to ask: set it (REGISTRY_HTTP_DEBUG_ADDR=127.0.0.1:5001) \
         and start pounce again, or name the debug listener of another pounce: pounce status http://HOST:PORT",
    )?;
    Ok(parse(&addr.to_reach())?)
}

/// `host:port`, or the URL of a listener, with `/status` or without.
fn parse(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&full).map_err(|error| format!("{text}: {error}; write http://HOST:PORT"))?;
    if url.path().trim_end_matches('/').is_empty() {
        url.set_path(PATH);
    }
    Ok(url)
}

async fn show(url: &Url, json: bool) -> Result<String, String> {
    let bytes = fetch(url).await?;
    if json {
        return Ok(format!("{}\n", String::from_utf8_lossy(&bytes).trim_end()));
    }
    let status: Status = serde_json::from_slice(&bytes).map_err(|_| format!("{url}: its answer is no status"))?;
    Ok(table::render(&status))
}

async fn fetch(url: &Url) -> Result<Bytes, String> {
    let probed = upstream::probe(url, None).await.map_err(|error| {
        let cause = error.to_string();
        let cause = cause.strip_prefix("the upstream is not available: ").unwrap_or(&cause);
        format!("{url}: {cause}; is it the debug listener (http.debug.addr) of a pounce that runs?")
    })?;
    match probed.status {
        200 => Ok(probed.bytes),
        503 => Err(format!("{url}: this pounce ends just now")),
        404 => Err(format!("{url}: there is no status here: name the debug listener (http.debug.addr)")),
        status => Err(format!("{url}: it answers with {status}")),
    }
}

fn print(before: &str, text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{before}{text}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_named_in_any_way() {
        for text in
            ["127.0.0.1:5001", "http://127.0.0.1:5001", "http://127.0.0.1:5001/", "http://127.0.0.1:5001/status"]
        {
            assert_eq!(parse(text).unwrap().as_str(), "http://127.0.0.1:5001/status", "{text}");
        }
        assert!(parse("http://").unwrap_err().contains("http://HOST:PORT"));
    }
}
