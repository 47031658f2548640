//! The arguments of `pounce init`.

use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  pounce init                                      asks, and writes registry.yml and htpasswd beside it
  pounce init --folder ./data --upstream docker.io --user admin
  pounce init --bucket my-images --upstream docker.io --upstream ghcr.io --public --env
  pass show pounce | pounce init --bucket b --endpoint eu-west-1 --no-upstream --user ci --password-stdin

Flags answer the questions, which need a terminal. The keys of a bucket are read from AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY when pounce serves, and written to the file only with --copy-keys. All files have the mode 0600.
The exit status is that of `pounce check`, or 1 if nothing was written.";

/// The arguments of `init`.
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// The bucket's name
    #[arg(long, value_name = "NAME", conflicts_with = "folder")]
    pub(super) bucket: Option<String>,
    /// Its endpoint, or its region at AWS [default: that of `AWS_ENDPOINT_URL_S3`, or Tigris]
    #[arg(long, value_name = "URL|REGION", requires = "bucket")]
    pub(super) endpoint: Option<String>,
    /// The region that requests are signed for [default: auto]
    #[arg(long, requires = "endpoint")]
    pub(super) region: Option<String>,
    /// Write `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` from the environment to the file
    #[arg(long, requires = "bucket")]
    pub(super) copy_keys: bool,
    /// A folder instead of a bucket
    #[arg(long, value_name = "FOLDER")]
    pub(super) folder: Option<String>,
    /// A registry to pull from, as in docker.io or ghcr.io, or its URL; can be repeated, and images that are named without
    /// a registry come from the first one
    #[arg(long, value_name = "REGISTRY", conflicts_with = "no_upstream")]
    pub(super) upstream: Vec<String>,
    /// No registry to pull from: only pushed images are served
    #[arg(long)]
    pub(super) no_upstream: bool,
    /// A first user with all rights; a password is generated and shown once
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Read the password of the user from the first line of standard input
    #[arg(long, requires = "user")]
    pub(super) password_stdin: bool,
    /// Every client may pull without a login
    #[arg(long)]
    pub(super) public: bool,
    /// Write variables instead of YAML
    #[arg(long)]
    pub(super) env: bool,
    /// The file to write [default: registry.yml, or .env with --env]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    pub(super) force: bool,
}
