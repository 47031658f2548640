//! The system's limit on the number of open files and connections of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on file descriptors to the hard one, because many systems start processes with 1,024. Returns
/// how many of the `wanted` client connections fit into half of the limit. The other half is for files, the bucket and
/// upstreams.
pub(crate) fn raise(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let fits = wanted.min(limit / 2).max(16);
    if fits < wanted {
        tracing::info!(
            descriptors = limit,
            connections = fits,
            "the limit on file descriptors (ulimit -n) allows fewer connections than http.limits"
        );
    }
    fits
}
