//! The clients, each with its files.

use super::plan::Draft;
use super::setup::Setup;
use super::tree::Tree;
use super::{containerd, containers, docker, k3s, talos};

/// A client that pulls images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Target {
    Docker,
    Containerd,
    K3s,
    Podman,
    Crio,
    Talos,
}

impl Target {
    pub(super) const ALL: [Self; 6] =
        [Self::Docker, Self::Containerd, Self::K3s, Self::Podman, Self::Crio, Self::Talos];

    /// The clients whose directories are in a tree.
    pub(super) fn found(tree: &Tree) -> Vec<Self> {
        let is_there = |target: &Self| target.directory().is_some_and(|path| tree.has_directory(path));
        Self::ALL.into_iter().filter(is_there).collect()
    }

    /// The directory by which a client is found.
    const fn directory(self) -> Option<&'static str> {
        match self {
            Self::Docker => Some("/etc/docker"),
            Self::Containerd => Some("/etc/containerd"),
            Self::K3s => Some("/etc/rancher/k3s"),
            Self::Podman => Some("/etc/containers"),
            Self::Crio => Some("/etc/crio"),
            Self::Talos => None,
        }
    }

    /// The directories of the files that pounce writes; `true`: their subdirectories, too.
    pub(super) const fn written(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Docker => &[("/etc/docker", false), ("/etc/docker/certs.d", true)],
            Self::Containerd => &[("/etc/containerd", false), ("/etc/containerd/certs.d", true)],
            Self::K3s => &[("/etc/rancher/k3s", false)],
            Self::Podman | Self::Crio => {
                &[("/etc/containers/registries.conf.d", false), ("/etc/containers/certs.d", true)]
            }
            Self::Talos => &[],
        }
    }

    /// The command after which the client has read a file that was written, or taken back.
    pub(super) fn command_for(path: &str, is_undone: bool) -> Option<&'static str> {
        match path {
            docker::DAEMON if is_undone => Some(docker::RESTART),
            docker::DAEMON => Some(docker::RELOAD),
            containerd::CONFIG => Some(containerd::RESTART),
            path if !is_undone && containerd::is_hosts(path) => Some(containerd::TRY),
            k3s::REGISTRIES | k3s::CA => Some(k3s::RESTART),
            containers::REGISTRIES => Some(containers::RELOAD),
            _ => None,
        }
    }

    /// Adds the client's files.
    pub(super) fn plan(self, setup: &Setup, draft: &mut Draft<'_>) -> Result<(), String> {
        match self {
            Self::Docker => docker::plan(setup, draft),
            Self::Containerd => containerd::plan(setup, draft),
            Self::K3s => k3s::plan(setup, draft),
            Self::Podman => containers::plan(setup, draft, containers::Client::Podman),
            Self::Crio => containers::plan(setup, draft, containers::Client::Crio),
            Self::Talos => talos::plan(setup, draft),
        }
    }
}
