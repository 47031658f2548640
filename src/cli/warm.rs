//! `pounce warm IMAGE…`: copies images into the bucket before the nodes ask for them.
//!
//! With `--fetch` it then reads them as a client does ([`fetch`]).
//!
//! It runs the registry without a listener, with the configuration's names, upstreams, credentials and bucket. It can
//! run beside replicas that serve.

mod arguments;
mod fetch;
mod manifests;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::image::ImageReference;
use super::progress::{Bar, Progress, Total, bytes};
use super::runtime::{CommandResult, block_on};
use super::signals;
use crate::config::{Config, Environment, Loaded, LogLevel, Secret};
use crate::oci::{Descriptor, Digest, Error, ErrorCode, Platform, Reference, RepositoryName};
use crate::registry::{Options, Registry, Warmed};
use crate::store::Store;
use crate::telemetry::{self, Metrics, causes};

pub(super) use arguments::Arguments;
use fetch::Fetcher;
use manifests::{Found, Tree};

/// How long a request waits for the upstream to confirm a tag, because no client waits for it.
const REVALIDATION: Duration = Duration::from_mins(2);
/// How long writes in the background may take at the end.
const DRAIN: Duration = Duration::from_mins(1);

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let (file, images) = arguments.sort()?;
    let Loaded { mut config, .. } = Config::load(file.as_deref(), &Environment::of_process())?;
    // This command's own lines replace the log's.
    if config.log.level == LogLevel::Info {
        config.log.level = LogLevel::Error;
    }
    telemetry::init_logs(&config.log)?;
    block_on(async {
        let stop = CancellationToken::new();
        signals::watch(stop.clone(), "unfinished copies are discarded")?;
        let warming = tokio::select! {
            begun = Warming::begin(&config, arguments) => begun?,
            // The bucket may be slow to answer.
            () = stop.cancelled() => return Ok(ExitCode::FAILURE),
        };
        tokio::select! {
            code = warming.run(&images) => Ok(code),
            () = stop.cancelled() => {
                warming.registry.drain(Duration::ZERO).await;
                warming.progress.error(match warming.fetcher {
                    None => "interrupted: not everything is in the bucket",
                    Some(_) => "interrupted: not everything was read from the bucket",
                });
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// What all images share.
struct Warming {
    registry: Registry,
    platforms: Vec<Platform>,
    jobs: usize,
    progress: Progress,
    /// With `--fetch`.
    fetcher: Option<Fetcher>,
    /// `storage.redirect.minage`
    min_age: Duration,
}

/// A manifest that must be in the bucket at the end.
type Expected = (RepositoryName, Reference, Digest);

/// The blobs of an image that are in the bucket.
struct Stored<'a> {
    image: &'a ImageReference,
    name: RepositoryName,
    blobs: Vec<Descriptor>,
}

/// What was copied, and what was there already.
#[derive(Default)]
struct Totals {
    manifests: usize,
    blobs: usize,
    copied_manifests: usize,
    copied_blobs: usize,
    copied_bytes: u64,
    failed: usize,
    /// Blobs that `--fetch` could not read.
    unread: usize,
}

impl Totals {
    fn is_empty(&self) -> bool {
        self.copied_manifests + self.copied_blobs == 0
    }

    fn add(&mut self, other: &Self) {
        self.manifests += other.manifests;
        self.blobs += other.blobs;
        self.copied_manifests += other.copied_manifests;
        self.copied_blobs += other.copied_blobs;
        self.copied_bytes += other.copied_bytes;
        self.failed += other.failed;
    }
}

impl Warming {
    async fn begin(config: &Config, arguments: &Arguments) -> Result<Self, Box<dyn std::error::Error>> {
        let addr = config.http.addr.to_reach();
        let store = Store::connect_beside(&config.storage, &addr).await?;
        let min_age = store.redirect_min_age();
        // There are no uploads to sign.
        let mut options = Options::new(config, || Secret::from(String::new()));
        options.prefetch = false;
        options.client_wait = REVALIDATION;
        let metrics = Arc::new(Metrics::default());
        Ok(Self {
            registry: crate::server::open_registry(config, store, options, &metrics).await?,
            platforms: arguments.platform.clone(),
            jobs: usize::from(arguments.jobs),
            progress: Progress::new(std::io::stderr().is_terminal()),
            fetcher: arguments.fetch.then(|| Fetcher::new(&addr)).transpose()?,
            min_age,
        })
    }

    async fn run(&self, images: &[ImageReference]) -> ExitCode {
        let (mut done, mut expected, mut stored) = (Totals::default(), Vec::new(), Vec::new());
        for image in images {
            let began = Instant::now();
            match self.image(image, &mut expected).await {
                Ok((own, blobs)) => {
                    stored.push(blobs);
                    if own.failed == 0 {
                        self.progress.line(&describe(image, &own, began.elapsed()));
                    }
                    done.add(&own);
                }
                Err(error) => {
                    done.failed += 1;
                    self.progress.error(&format!("{image}: {}", causes(&error)));
                }
            }
        }
        // Links are written in the background.
        self.registry.drain(DRAIN).await;
        for (name, reference, digest) in expected {
            let is_warm = self.registry.warmer.is_warm(&name, &reference, digest).await;
            if !matches!(is_warm, Ok(true)) {
                done.failed += 1;
                let line = format!("{name}: {reference} is not in the bucket");
                self.progress.error(&line);
            }
        }
        if let Some(fetcher) = &self.fetcher {
            if done.copied_blobs > 0 {
                // Clients are redirected to a blob of this age only.
                tokio::time::sleep(self.min_age).await;
            }
            let mut known = HashSet::new();
            for mut of_image in stored {
                of_image.blobs.retain(|blob| known.insert(*blob.digest()));
                done.unread += self.fetch(fetcher, &of_image).await;
            }
        }
        self.summarize(&done)
    }

    /// Reads the blobs of an image; returns how many cannot be read.
    async fn fetch(&self, fetcher: &Fetcher, Stored { image, name, blobs }: &Stored<'_>) -> usize {
        let (began, mut unread, mut size) = (Instant::now(), 0, 0);
        let total = self.progress.total("reading", image, blobs.iter().map(Descriptor::size));
        let reads = stream::iter(blobs).map(async |blob| {
            let bar = OnceCell::new();
            let progress = |bytes| bar.get_or_init(|| self.bar("reading", blob, &total)).at(bytes);
            let read = fetcher.read(&self.registry, (name, blob), progress).await;
            total.ended(blob.size(), bar.get());
            (blob, read)
        });
        let mut reads = reads.buffer_unordered(self.jobs);
        while let Some((blob, result)) = reads.next().await {
            match result {
                Ok(()) => size += blob.size(),
                Err(cause) => {
                    unread += 1;
                    self.progress.error(&format!("{image}: {} cannot be read: {cause}", blob.digest()));
                }
            }
        }
        let (read, took) = (blobs.len() - unread, began.elapsed().as_secs_f64());
        self.progress.line(&format!("{image}: read {read} blobs, {} in {took:.1} s", bytes(size)));
        unread
    }

    fn summarize(&self, done: &Totals) -> ExitCode {
        let Totals { manifests, blobs, failed, unread, .. } = done;
        if *failed > 0 {
            let line = format!("not everything is in the bucket: {failed} failed");
            self.progress.error(&line);
            return ExitCode::FAILURE;
        }
        if *unread > 0 {
            self.progress.error(&format!("everything is in the bucket, but {unread} blobs cannot be read from it"));
            return ExitCode::FAILURE;
        }
        let line = if done.is_empty() {
            format!("nothing to do: {manifests} manifests and {blobs} blobs are in the bucket")
        } else {
            let size = bytes(done.copied_bytes);
            format!("everything is in the bucket: {manifests} manifests and {blobs} blobs, {size} copied")
        };
        self.progress.line(&line);
        ExitCode::SUCCESS
    }

    /// Warms one image.
    async fn image<'a>(
        &self,
        image: &'a ImageReference,
        expected: &mut Vec<Expected>,
    ) -> Result<(Totals, Stored<'a>), Error> {
        let name = self.registry.repositories.resolve_reference(&image.name, image.host.as_deref())?;
        let Tree { found, entries } = manifests::tree(&self.registry, &self.platforms, &name, &image.reference).await?;
        let (mut done, mut known) = (Totals::default(), HashSet::new());
        let mut blobs = entries;
        blobs.retain(|blob| known.insert(*blob.digest()));
        for Found { reference, warm } in found {
            done.manifests += 1;
            done.copied_manifests += usize::from(!warm.already);
            if warm.stale {
                let line = format!("{image}: the upstream cannot be asked whether it is still the same");
                self.progress.error(&line);
            }
            let links = warm.manifest.links();
            blobs.extend(links.blobs.into_iter().filter(|blob| known.insert(*blob.digest())));
            expected.push((name.clone(), reference, warm.manifest.digest()));
        }
        done.blobs = blobs.len();
        let mut stored = Vec::new();
        let total = self.progress.total("copying", image, blobs.iter().map(Descriptor::size));
        let copies = stream::iter(&blobs).map(|blob| self.blob(&name, blob, &total));
        let mut copies = copies.buffer_unordered(self.jobs);
        while let Some((blob, result)) = copies.next().await {
            match result {
                Ok((warmed, is_blob)) => {
                    if let Warmed::Copied(bytes) = warmed {
                        done.copied_blobs += 1;
                        done.copied_bytes += bytes;
                    }
                    stored.extend(is_blob.then(|| blob.clone()));
                }
                Err(error) => {
                    done.failed += 1;
                    let digest = blob.digest();
                    self.progress.error(&format!("{image}: {digest}: {}", causes(&error)));
                }
            }
        }
        drop(copies);
        Ok((done, Stored { image, name, blobs: stored }))
    }

    /// Copies a blob, or a manifest that is described as one; says which of them it was.
    async fn blob<'a>(
        &self,
        name: &RepositoryName,
        blob: &'a Descriptor,
        total: &Total,
    ) -> (&'a Descriptor, Result<(Warmed, bool), Error>) {
        // The bar appears with the first byte, because most blobs are there already.
        let bar = OnceCell::new();
        let progress = |bytes| bar.get_or_init(|| self.bar("copying", blob, total)).at(bytes);
        let warmed = match self.registry.warmer.blob(name, blob, progress).await {
            Err(error) if error.code() == ErrorCode::BlobUnknown => {
                let manifest = manifests::as_manifest(&self.registry, name, blob).await;
                manifest.ok_or(error).map(|warmed| (warmed, false))
            }
            warmed => warmed.map(|warmed| (warmed, true)),
        };
        total.ended(blob.size(), bar.get());
        (blob, warmed)
    }

    fn bar(&self, work: &'static str, blob: &Descriptor, total: &Total) -> Bar {
        self.progress.bar(work, blob.digest().to_string().chars().take(19).collect(), blob.size(), total)
    }
}

fn describe(image: &ImageReference, done: &Totals, took: Duration) -> String {
    if done.is_empty() {
        return format!("{image}: is in the bucket already");
    }
    let (blobs, size) = (done.copied_blobs, bytes(done.copied_bytes));
    format!("{image}: copied {blobs} blobs, {size} in {:.1} s", took.as_secs_f64())
}
