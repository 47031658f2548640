//! The arguments of `pounce warm`: which images, and which configuration.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cli::image::ImageReference;
use crate::cli::names_configuration;
use crate::oci::Platform;

/// The longest list of images, in bytes.
const MAX_LIST: u64 = 4 << 20;

const EXAMPLES: &str = "\
Examples:
  pounce warm ghcr.io/org/app:1.2 --platform linux/amd64
  pounce warm registry.yml --from images.txt --jobs 12
  kubectl get pods -A -o jsonpath='{..image}' | tr ' ' '\\n' | sort -u | pounce warm --from -
  pounce warm --fetch ghcr.io/org/app:1.2        in each region, after a copy from anywhere

It runs beside servers or without one, wherever the configuration's bucket and upstreams can be reached; on Fly:
  fly machine run --app APP --region fra --rm registry.fly.io/APP:TAG -- warm --fetch ghcr.io/org/app:1.2

Exit status: 0 if everything is in the bucket (and was read, with --fetch), 1 if not, 2 for a wrong command line. There
are bars on a terminal, and elsewhere a line every 10 seconds.";

/// The arguments of `warm`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// The images, as in ghcr.io/org/app:1.2; one without a host is the default upstream's. A name that ends in .yml or
    /// .yaml is the configuration, as `serve` takes it
    #[arg(value_name = "FILE.yml | IMAGE", required_unless_present = "from")]
    operands: Vec<Operand>,
    /// Only the manifests of an index for this platform, as in linux/amd64 (can be repeated)
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Vec<Platform>,
    /// Further images, one a line, from a file or from standard input (-); # begins a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Also read every blob through its presigned URL, so that this region has it near
    #[arg(long)]
    pub(super) fetch: bool,
    /// How many blobs are copied, or read, at once: 1 to 64
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) jobs: u16,
    /// The configuration, in another way
    #[arg(long, value_name = "FILE.yml")]
    config: Option<PathBuf>,
}

/// A file or an image, by its name.
#[derive(Clone, Debug)]
enum Operand {
    Configuration(PathBuf),
    Image(ImageReference),
}

impl FromStr for Operand {
    type Err = <ImageReference as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if names_configuration(text) { Ok(Self::Configuration(text.into())) } else { text.parse().map(Self::Image) }
    }
}

impl Arguments {
    /// The configuration, and the images.
    ///
    /// # Errors
    /// There are several configurations, or no images, or the list of images cannot be read.
    pub(super) fn sort(&self) -> Result<(Option<PathBuf>, Vec<ImageReference>), String> {
        let (mut files, mut images) = (self.config.iter().cloned().collect::<Vec<_>>(), Vec::new());
        for operand in &self.operands {
            match operand {
                Operand::Configuration(file) => files.push(file.clone()),
                Operand::Image(image) => images.push(image.clone()),
            }
        }
        if let Some(file) = &self.from {
            images.extend(read(file).map_err(|message| format!("{}: {message}", file.display()))?);
        }
        if let [first, second, ..] = &files[..] {
            return Err(format!("{} and {}: there is one configuration", first.display(), second.display()));
        }
        if images.is_empty() && self.from.is_none() {
            return Err("name an image, as in ghcr.io/org/app:1.2".to_owned());
        }
        Ok((files.pop(), images))
    }
}

/// Reads the images in a file.
fn read(file: &Path) -> Result<Vec<ImageReference>, String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MAX_LIST).read_to_string(&mut text)
    } else {
        let opened = File::open(file).map_err(|error| error.to_string())?;
        opened.take(MAX_LIST).read_to_string(&mut text)
    };
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 == MAX_LIST {
        return Err("the list is too long".to_owned());
    }
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::parse).collect()
}
