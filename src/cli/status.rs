//! `pounce status [URL]`: what a running pounce is doing, from its debug listener.

mod table;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::runtime::{CommandResult, block_on};
use super::{names_configuration, print};
use crate::config::{Config, Environment};
use crate::http::Status;
use crate::telemetry::speaks_plain_http;
use crate::upstream;

/// How often `--watch` asks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Moves to the top of a terminal, and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";
const PATH: &str = "/status";

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The debug listener, as in 10.0.0.7:5001, or its URL; without one, that of the configuration (http.debug.addr). A
    /// name that ends in .yml or .yaml is the configuration, as `serve` takes it
    #[arg(value_name = "URL | FILE.yml")]
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
        Some(text) if names_configuration(text) => configured(Some(Path::new(text)))?,
        Some(text) => parse(text)?,
        None => configured(arguments.config.as_deref())?,
    };
    block_on(async {
        loop {
            let shown = show(&url, arguments.json).await;
            match shown {
                Ok(text) => {
                    let clears = arguments.watch && !arguments.json && std::io::stdout().is_terminal();
                    let is_read = print::result(format_args!("{}{text}", if clears { CLEAR } else { "" }))?;
                    if !is_read || !arguments.watch {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Err(error) if arguments.watch => print::note(format_args!("pounce: {error}")),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// The debug listener that the configuration names.
fn configured(file: Option<&Path>) -> Result<Url, Box<dyn std::error::Error>> {
    let loaded = Config::load(file, &Environment::of_process())?;
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
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{}://: the debug listener speaks HTTP: write http://HOST:PORT", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user and password out of the URL: the debug listener asks for none".to_owned());
    }
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

/// Why there is no answer, and what to do.
fn describe(url: &Url, error: &str) -> String {
    // What is asked here is no upstream.
    let cause = error.split_once(": ").map_or(error, |(_, cause)| cause);
    if speaks_plain_http(cause) {
        return format!("{url}: it does not speak TLS at that port: write http://");
    }
    format!("{url}: {cause}; is it the debug listener (http.debug.addr) of a pounce that runs?")
}

async fn fetch(url: &Url) -> Result<Bytes, String> {
    let probed = upstream::probe(url, None).await.map_err(|error| describe(url, &error.to_string()))?;
    match probed.status {
        200 => Ok(probed.bytes),
        503 => Err(format!("{url}: this pounce ends just now")),
        404 => Err(format!("{url}: there is no status here: name the debug listener (http.debug.addr)")),
        status => Err(format!("{url}: it answers with {status}")),
    }
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
        for (text, sentence) in [
            ("http://", "http://HOST:PORT"),
            ("", "http://HOST:PORT"),
            ("ftp://127.0.0.1", "http://HOST:PORT"),
            ("http://me:hunter2@127.0.0.1:5001", "leave user and password out"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(sentence) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
